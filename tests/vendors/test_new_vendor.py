"""Adding a vendor is adding one file: everything else finds it by itself."""

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
from pipeline.run import RunOptions, Way, carry_out, prepare
from pipeline.vendors import Vendor, load_vendors
from tests.cli.command import typed
from tests.vendors.conformance import CHECKS

FILE = '''\
"""Acme: prices of articles, up to 50 of one currency in a request.

Source: https://docs.acme.example/v2/prices
"""

from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr
from pydantic_core import to_json

from pipeline.model import Answer, Cell, CellKind, EntityKey, NoReply, Reply, Request, UpdateJob
from pipeline.model import Verdict
from pipeline.policy.classify import classify
from pipeline.vendors.contract import Basic, Defaults, Operation, Vendor, VendorSettings

HEADERS = {"Content-Type": "application/json"}


class Settings(VendorSettings):
    """What an account at Acme needs."""

    shop: Annotated[str, Field(pattern=r"^[a-z]+$")]
    api_key: SecretStr
    max_batch: Annotated[int, Field(ge=1, le=50)] = 50


class Price(UpdateJob):
    """A price."""

    sku: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9-]{1,32}$"),
        Cell(CellKind.ID, help="The article.", example="anvil-7"),
    ]
    currency: Annotated[
        Literal["EUR", "USD"],
        Cell(CellKind.KEYWORD, help="EUR or USD.", example="USD"),
    ]
    cents: Annotated[
        int, Field(ge=0), Cell(CellKind.INTEGER, help="The price in cents.", example="995")
    ]


def _entity(s: Settings, job: Price) -> EntityKey:
    url = urlsplit(s.base_url)
    port = "" if url.port in (None, 443) else f":{url.port}"
    return EntityKey("acme", f"{url.scheme}://{url.hostname}{port}", s.shop, "price", job.sku)


def _encode(s: Settings, batch: Sequence[Price]) -> Request:
    prices = [{"sku": job.sku, "cents": job.cents} for job in batch]
    body = to_json({"currency": batch[0].currency, "prices": prices})
    return Request("PUT", f"/v2/{quote(s.shop, safe='')}/prices", body, HEADERS)


def _decode(
    _s: Settings, batch: Sequence[Price], reply: Reply | NoReply
) -> tuple[Answer, ...]:
    answer = classify(reply)
    if answer.verdict is Verdict.REJECTED and len(batch) > 1:  # one of them, it does not say which
        answer = answer._replace(verdict=Verdict.SPLIT)
    return (answer,) * len(batch)


PRICE = Operation(
    name="acme.price",
    summary="Set the price of an article",
    job_type=Price,
    entity_kind="price",
    replaces=False,
    defaults=Defaults(quota=("10/s",), in_flight=4, timeout_s=20.0),
    entity=_entity,
    encode=_encode,
    decode=_decode,
    repeatable=lambda _s, _job: True,
    repeat_note="harmless: a price is set",
    batch_key=lambda _s, job: job.currency,
    batch_size=lambda s: s.max_batch,
    sample={"sku": "anvil-1", "currency": "EUR", "cents": "1095"},
)

VENDOR = Vendor(
    name="acme",
    summary="Acme: prices of articles",
    settings=Settings,
    authenticate=lambda s: Basic(s.shop, s.api_key),
    scope=lambda s: f"shop {s.shop}",
    operations=(PRICE,),
    simulated={"shop": "anvils"},
)
'''
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
        summary = await carry_out(prepared, Way(environ=ENVIRON))
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
