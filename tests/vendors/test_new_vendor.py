"""Adding a vendor is adding one file: everything else finds it by itself.

The file is the one of docs/howto/add-a-vendor.md.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest
from aiohttp import web

import pipeline.vendors
from pipeline.config import load_config
from pipeline.run import RunEnvironment, carry_out, prepare
from pipeline.runs import RunOptions
from pipeline.vendors import Vendor, load_vendors
from tests.cli.command import typed
from tests.vendors.conformance import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "add-a-vendor.md"
FILE = PAGE.read_text().split("```python file=acme.py\n")[1].split("```")[0]
CONFIG = """
[accounts.anvils]
vendor = "acme"
base_url = "{url}"
shop = "anvils"
api_key = "env:ACME_KEY"
max_batch = 3
quota = "1000/s"
"""
ENVIRON = {"ACME_KEY": "a-key"}


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor[Any]]:
    """Acme's file, as if it lay in the folder of the vendors."""
    folder = tmp_path / "vendors"
    folder.mkdir()
    (folder / "acme.py").write_text(FILE)
    monkeypatch.setattr(pipeline.vendors, "__path__", [*pipeline.vendors.__path__, str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield load_vendors()["acme"]
    del sys.modules["pipeline.vendors.acme"]
    delattr(pipeline.vendors, "acme")


@asynccontextmanager
async def acme_s_server(taken: list[dict[str, Any]]) -> AsyncIterator[str]:
    """Its address; what it took is added to `taken`. There is no article `anvil-404`."""
    signed = base64.b64encode(b"anvils:a-key").decode()

    async def put(request: web.Request) -> web.Response:
        asked = await request.json()
        if request.headers.get("Authorization") != f"Basic {signed}":
            return web.Response(status=401)
        if any(price["sku"] == "anvil-404" for price in asked["prices"]):
            return web.json_response({"message": "no such article"}, status=422)
        taken.append(asked)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_put("/v2/anvils/prices", put)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def test_it_is_found_by_its_name(acme):
    vendors = load_vendors()
    assert vendors["acme"] is acme
    assert list(vendors) == sorted(vendors)


def test_it_is_gone_with_its_file():
    assert "acme" not in load_vendors()
    assert "pipeline.vendors.acme" not in sys.modules


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__.removeprefix("check_"))
def test_the_suite_holds(acme, check):
    check(acme, acme.operations[0])


def test_the_command_lists_and_explains_it(acme, tmp_path):
    listed = typed(tmp_path, "operations")
    assert "acme.price" in listed.out
    assert "Set the price of an article" in listed.out
    told = typed(tmp_path, "operations", "acme.price")
    assert all(column in told.out for column in ("sku", "currency", "cents"))
    template = typed(tmp_path, "operations", "acme.price", "--template", "csv")
    assert template.out == "sku,currency,cents\nanvil-1,EUR,1095\n"


async def test_a_file_for_it_runs_from_start_to_finish(acme, tmp_path):
    lines = [f"anvil-{n},{'EUR' if n % 3 else 'USD'},{n * 100}" for n in range(1, 12)]
    lines.append("anvil-404,EUR,1")
    path = tmp_path / "inputs" / "acme.price" / "prices.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(["sku,currency,cents", *lines]) + "\n")
    taken: list[dict[str, Any]] = []
    async with acme_s_server(taken) as url:
        (tmp_path / "pipeline.toml").write_text(CONFIG.format(url=url))
        config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=tmp_path)
        prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
        summary = await carry_out(prepared, RunEnvironment(environ=ENVIRON))
    counts = {status.value: count for status, count in summary.statuses.items() if count}
    assert counts == {"updated": 11, "rejected": 1}
    set_to = {
        price["sku"]: (body["currency"], price["cents"])
        for body in taken
        for price in body["prices"]
    }
    assert set_to == {f"anvil-{n}": ("EUR" if n % 3 else "USD", n * 100) for n in range(1, 12)}
    sizes = Counter(len(body["prices"]) for body in taken)
    assert sum(size * count for size, count in sizes.items()) == 11, "none was sent twice"
    assert 1 < max(sizes) <= 3, "rows share requests, as many as the account allows"
    errors = pl.read_csv(prepared.report_folder / "errors.csv", infer_schema=False)
    assert errors.select("sku", "_status", "_http_status").rows() == [
        ("anvil-404", "rejected", "422")
    ]
    assert json.loads((prepared.report_folder / "summary.json").read_text())["rows"] == 12
