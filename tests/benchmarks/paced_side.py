"""A process that sends one file and notes when each request left and came back.

    python -m tests.benchmarks.paced_side CONFIG FILE PACING

PACING is "even", "strict" or "learned". Beside FILE it makes one of the same name that ends in
`.ready` once it could send, waits until there is no file `wait`, and leaves its notes in `.json`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.config import Config, load_config
from pipeline.engine.gate import Door
from pipeline.engine.means import Send
from pipeline.model import NoReply, Reply, Request
from pipeline.run import RunOptions, Way, carry_out, prepare
from pipeline.run.send import over_http
from pipeline.vendors import Account, load_vendors
from tests.workplace import ENVIRON

STRICT, LEARNED = "strict", "learned"
STARTS_PER_S = 10.0
"""Where the limit is to be learned, the rate at first."""

ACCOUNT = """
[accounts.shop]
vendor = "xsolla"
base_url = "{base_url}"
project_id = {project}
merchant_id = 7001
api_key = "env:SHOP_KEY"
quota = "{quota}"
in_flight = 512
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced(Config):
    """A configuration whose account is paced in another way."""

    pacing: str

    def account(self, name: str, environ: Mapping[str, str]) -> Account:
        """As configured, but for the pace."""
        account = Config.account(self, name, environ)
        if self.pacing == LEARNED:
            return replace(account, quotas=(), starts_per_s=STARTS_PER_S)
        return replace(account, is_strict=self.pacing == STRICT)


def _paced(path: Path, pacing: str) -> Config:
    config = load_config(path, environ=ENVIRON, vendors=load_vendors(), cwd=path.parent)
    return Paced(
        **{each.name: getattr(config, each.name) for each in fields(config)}, pacing=pacing
    )


class Notes:
    """Path, when it left and when it came back, in monotonic seconds, of each request."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float, float]] = []

    @asynccontextmanager
    async def link(self, account: Account, door: Door) -> AsyncIterator[Send]:
        """Over HTTP, taking notes."""
        async with over_http(account, door) as send:

            async def noting(request: Request) -> Reply | NoReply:
                left_s = time.monotonic()
                reply = await send(request)
                self.times.append((request.path, left_s, time.monotonic()))
                return reply

            yield noting


async def run(config: Config, file: Path) -> Notes:
    """Send the file."""
    notes = Notes()
    options = RunOptions(operation="xsolla.coupon")
    prepared = await anyio.to_thread.run_sync(prepare, file, config, options)
    file.with_suffix(".ready").touch()
    while file.with_name("wait").exists():
        await anyio.sleep(0.01)
    await carry_out(prepared, Way(environ=ENVIRON, open_link=notes.link))
    return notes


def main() -> None:
    """As the arguments say."""
    config, file, pacing = sys.argv[1:]
    notes = anyio.run(run, _paced(Path(config), pacing), Path(file))
    Path(file).with_suffix(".json").write_text(json.dumps(notes.times))


if __name__ == "__main__":
    main()
