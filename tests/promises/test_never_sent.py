"""A row that was never sent ends `not_attempted`, whatever stopped it, and `resume` sends it."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.config import Config
from pipeline.model import Status
from pipeline.reporter import Summary
from pipeline.run import Progress, RunEnvironment, Session, carry_out, prepare
from pipeline.runs import RunOptions
from tests.http_client.servers import Server, Talk, Wire, reply, serving
from tests.http_client.tls_files import Authority
from tests.run.test_old_rows import cells, resume
from tests.waiting import until_async
from tests.workplace import ENVIRON, configure, coupon, drop

ROWS = 12
OPTIONS = RunOptions(operation="xsolla.coupon", grace_s=0.2)
CLOSES = reply(204, "Connection: close")


def shaking_hands(most: Callable[[], int], tls: ssl.SSLContext) -> Talk:
    """A server that shakes hands on so many connections, and says nothing at all on the others."""

    async def talk(wire: Wire) -> None:
        if wire.number > most():
            await wire.hang()
            return
        await wire.writer.start_tls(tls)
        await wire.request()
        await wire.say(CLOSES)

    return talk


async def interrupted(path: Path, config: Config, server: Server, *, answered: int) -> Summary:
    """What is left of a run that is told twice to stop, once so many of its rows have ended and
    another one has begun a connection.
    """
    shared, polls = Session(), list[Progress]()
    found: list[Summary] = []

    @contextmanager
    def watch(poll: Progress) -> Iterator[None]:
        polls.append(poll)
        yield

    async def send() -> None:
        way = RunEnvironment(shared=shared, environ=ENVIRON, watch=watch)
        found.append(await carry_out(prepare(path, config, OPTIONS), way))

    def ended() -> int:
        return sum(sum(each.done.values()) for poll in polls for each in poll())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await until_async(lambda: server.connections > answered and ended() == answered)
        await anyio.sleep(0.05)
        shared.interrupt(signal.SIGTERM)
        await anyio.sleep(0.05)
        shared.interrupt(signal.SIGTERM)
    return found[0]


@pytest.mark.parametrize("answered", [0, 3])
async def test_a_stop_amid_tls_handshakes_leaves_no_row_failed_or_in_doubt(
    tmp_path: Path, answered: int
) -> None:
    """Who waits for a handshake has certainly sent nothing, also where the grace is over."""
    authority = Authority.made_in(tmp_path / "tls")
    path = drop(tmp_path, *map(coupon, range(1, ROWS + 1)))
    most = [answered]
    async with serving(shaking_hands(lambda: most[-1], authority.server())) as server:
        url, more = f"https://127.0.0.1:{server.port}/api", f'ca_file = "{authority.ca_file}"'
        config = configure(tmp_path, url, in_flight=4, more=more)
        before = await interrupted(path, config, server, answered=answered)
        hints = set(cells(before, config, "_hint").values())
        server.seen.clear()
        most.append(ROWS * ROWS)
        after = await resume(before.run, config)
    left = {Status.UPDATED: answered, Status.NOT_ATTEMPTED: ROWS - answered}
    assert {status: n for status, n in before.statuses.items() if n} == {
        status: n for status, n in left.items() if n
    }
    assert not any("proxy" in hint for hint in hints)
    assert len(server.seen) == ROWS - answered
    assert after.statuses[Status.UPDATED] == ROWS
