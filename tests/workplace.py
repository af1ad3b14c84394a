"""A working folder, and a simulator in a process of its own, as a user would have them."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from pipeline.config import Config, load_config
from pipeline.vendors import Vendor, load_vendors
from tests.quick_start import COMMAND, QuickPopen
from tests.waiting import WITHIN_S

ENVIRON = {
    "SHOP_KEY": "simulator-key",
    "CLIENT_ID": "simulator-client",
    "CLIENT_SECRET": "simulator-secret",
}
CONFIG = """
[accounts.shop]
vendor = "xsolla"
base_url = "{base_url}"
project_id = 44056
api_key = "env:SHOP_KEY"
quota = {quota}
in_flight = {in_flight}
{more}
"""
JOURNEY = """
[accounts.journey]
vendor = "adobe"
base_url = "{url}/data/core"
token_url = "{url}/ims/token/v3"
api = "xcore"
container_id = "e0bd8463-0913-4ca1-bd84-6309134ca1f6"
ims_org = "ACME@AdobeOrg"
sandbox_name = "prod"
client_id = "env:CLIENT_ID"
client_secret = "env:CLIENT_SECRET"
scopes = ["openid"]
quota = "100000/s"
in_flight = {in_flight}
{more}
"""
BILLING = """
[accounts.billing]
vendor = "oracle"
base_url = "{url}/bcws/webresources/v1.0"
client_id = "env:CLIENT_ID"
client_secret = "env:CLIENT_SECRET"
max_batch = {max_batch}
quota = "100000/s"
in_flight = {in_flight}
{more}
"""
COLUMNS = (
    "external_id,name.en-US,bonus,date_start,date_end,"
    "redeem_total_limit,redeem_user_limit,redeem_code_limit,attribute_conditions"
)


def coupon(row: int, external_id: str | None = None) -> str:
    """A CSV line; the name tells which row a body came from."""
    return (
        f"{external_id or f'c{row}'},row {row},elven_shield:{row % 9 + 1},"
        f"2026-12-01T00:00:00+01:00,2026-12-31T23:59:00+01:00,{row % 500 + 1},1,null,omit"
    )


def row_of(body: str) -> int:
    """The row that a body came from."""
    return int(json.loads(body)["name"]["en-US"].removeprefix("row "))


@dataclass(frozen=True)
class Simulator:
    """One that runs elsewhere."""

    base_url: str
    url: str

    def revoke(self) -> None:
        """No token that was given out is good any longer."""
        request = urllib.request.Request(f"{self.url}/_simulator/revoke", method="POST")
        urllib.request.urlopen(request).close()

    def get(self, what: str) -> Iterator[dict[str, Any]]:
        """`log` or `state`, line by line."""
        with urllib.request.urlopen(f"{self.url}/_simulator/{what}") as lines:
            yield from map(json.loads, lines)

    def stats(self) -> dict[str, Any]:
        """Counts."""
        with urllib.request.urlopen(f"{self.url}/_simulator/stats") as reply:
            return dict(json.load(reply))


def _announced(lines: IO[str]) -> Iterator[tuple[str, str]]:
    """Vendor and base URL, until the line that tells where the log is."""
    for line in lines:
        name, _, url = line.strip().partition(": ")
        if name == "log":
            return
        yield name, url


@contextmanager
def simulator(*arguments: str) -> Iterator[Simulator]:
    """`pipeline simulator` on a free port."""
    process = QuickPopen(
        [*COMMAND, "simulator", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        told = dict(_announced(process.stdout))
        yield Simulator(told["xsolla"], "/".join(told["xsolla"].split("/")[:3]))
    finally:
        process.terminate()
        try:
            process.wait(timeout=WITHIN_S)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def quick_vendors(settle_after_s: float = 0.5) -> dict[str, Vendor[Any]]:
    """The vendors, which work on a request for so long at most: a minute is long for a test."""
    return {name: _quick(vendor, settle_after_s) for name, vendor in load_vendors().items()}


def _quick(vendor: Vendor[Any], settle_after_s: float) -> Vendor[Any]:
    operations = tuple(
        each
        if each.reading is None
        else replace(each, reading=replace(each.reading, settle_after_s=settle_after_s))
        for each in vendor.operations
    )
    return replace(vendor, operations=operations)


def configure(
    folder: Path,
    base_url: str,
    *,
    quota: str = '"100000/s"',
    in_flight: int = 16,
    more: str = "",
    vendors: Mapping[str, Vendor[Any]] | None = None,
) -> Config:
    """`pipeline.toml` in `folder`, read; with the `vendors` that there are, or with others."""
    text = CONFIG.format(base_url=base_url, quota=quota, in_flight=in_flight, more=more)
    (folder / "pipeline.toml").write_text(text)
    return load_config(None, environ=ENVIRON, vendors=vendors or load_vendors(), cwd=folder)


def configure_all(
    folder: Path,
    vendor: Simulator,
    *,
    quota: str = "100000/s",
    in_flight: int = 16,
    max_batch: int = 20,
    more: str = "",
) -> Config:
    """`pipeline.toml` with an account of each vendor: shop, journey, billing; read."""
    texts = [
        CONFIG.format(base_url=vendor.base_url, quota='"100000/s"', in_flight=in_flight, more=more),
        JOURNEY.format(url=vendor.url, in_flight=in_flight, more=more),
        BILLING.format(url=vendor.url, in_flight=in_flight, max_batch=max_batch, more=more),
    ]
    (folder / "pipeline.toml").write_text("".join(texts).replace("100000/s", quota))
    return load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)


def hurry(folder: Path) -> None:
    """Lift the quota of its accounts: what is left to send costs the less time, the faster it is
    sent.
    """
    path = folder / "pipeline.toml"
    path.write_text(re.sub(r"(?m)^quota = .*$", 'quota = "100000/s"', path.read_text()))


def drop(folder: Path, *lines: str, name: str = "coupons.csv") -> Path:
    """A file of coupons in its drop folder."""
    path = folder / "inputs" / "xsolla.coupon" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([COLUMNS, *lines]) + "\n")
    return path
