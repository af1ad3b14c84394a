"""A process that sends one file and notes when each request left and came back.

    python -m tests.benchmarks.paced_side CONFIG FILE

Beside FILE it makes one of the same name that ends in `.ready` once it could send, waits until
there is no file `wait`, and leaves its notes in `.json`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from pipeline.config import Config, load_config
from pipeline.http_client.wire import OnReply, Wire
from pipeline.model import NoReply, Reply, Request
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run import RunEnvironment, carry_out, prepare
from pipeline.run.event_loop import run_async
from pipeline.run.links import over_http
from pipeline.runs import RunOptions
from pipeline.vendors import Account, load_vendors
from tests.workplace import ENVIRON


class Notes:
    """Path, when it left and when it came back, in monotonic seconds, of each request."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float, float]] = []

    @asynccontextmanager
    async def link(
        self, account: Account, account_limiter: AccountLimiter
    ) -> AsyncIterator[Wire[Any]]:
        """Over HTTP, taking notes."""
        async with over_http(account, account_limiter) as wire:
            start = wire.start

            def noting(connection: Any, request: Request, on_reply: OnReply) -> None:
                left_s = time.monotonic()

                def replied(reply: Reply | NoReply | Exception) -> None:
                    self.times.append((request.path, left_s, time.monotonic()))
                    on_reply(reply)

                start(connection, request, replied)

            wire.start = noting  # type: ignore[method-assign]
            yield wire


async def run(config: Config, file: Path) -> Notes:
    """Send the file."""
    notes = Notes()
    options = RunOptions(operation="xsolla.coupon")
    prepared = await anyio.to_thread.run_sync(prepare, file, config, options)
    file.with_suffix(".ready").touch()
    while file.with_name("wait").exists():
        await anyio.sleep(0.01)
    await carry_out(prepared, RunEnvironment(environ=ENVIRON, open_link=notes.link))
    return notes


def main() -> None:
    """As the arguments say."""
    path, file = map(Path, sys.argv[1:])
    config = load_config(path, environ=ENVIRON, vendors=load_vendors(), cwd=path.parent)
    notes = run_async(run, config, file)
    file.with_suffix(".json").write_text(json.dumps(notes.times))


if __name__ == "__main__":
    main()
