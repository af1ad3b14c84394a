"""Rows that may have been applied: claimed, read back, settled, and never guessed about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pipeline.engine.earlier import Earlier
from pipeline.model import NoReply, Reply, Request, RowResult, RunAborted, Status
from pipeline.vendors.contract import MISSING, Difference, Reading, State
from tests.engine.acme import ACCOUNT, ACME, PRICE, SILENCE, Script, drive, job

SETTLE_AFTER_S = 0.15


def differences(_settings: Any, wanted: Any, state: State) -> tuple[Difference, ...]:
    found = state.fields["sku"]
    if found == "cannot tell":
        return (Difference("sku", wanted.sku, None, is_told=False),)
    return () if found == wanted.sku else (Difference("sku", wanted.sku, found),)


def state_of(_settings: Any, reply: Reply) -> Any:
    if reply.status == 404:
        return MISSING
    return State({"sku": reply.body.decode()}, etag="7") if reply.status == 200 else None


READING = Reading(
    request=lambda _s, wanted: Request("GET", f"/{wanted.sku}"),
    state=state_of,
    differences=differences,
    settle_after_s=SETTLE_AFTER_S,
)
SHOP = replace(ACCOUNT, vendor=replace(ACME, operations=(replace(PRICE, reading=READING),)))


class Vendor:
    """Holds one sku. `meets` says what an attempt meets, and whether it is applied before that."""

    def __init__(
        self,
        *meets: tuple[int | NoReply, bool],
        late_s: float | None = None,
        reads: tuple[str | int | NoReply, ...] = (),
    ) -> None:
        self._meets = list(meets)
        self._late_s = late_s
        self._reads = list(reads)
        self.held = "old"
        self.sent = 0
        self.read = 0

    async def send(self, request: Request) -> Reply | NoReply:
        await anyio.sleep(0.001)
        return self._answer(request.path[1:]) if request.method == "GET" else self._update(request)

    def _answer(self, _sku: str) -> Reply | NoReply:
        self.read += 1
        told = self._reads.pop(0) if self._reads else self.held
        if isinstance(told, NoReply):
            return told
        if isinstance(told, int):
            return Reply(told, {}, b"")
        return Reply(200, {}, told.encode())

    def _update(self, request: Request) -> Reply | NoReply:
        status, is_applied = self._meets[min(self.sent, len(self._meets) - 1)]
        self.sent += 1
        if is_applied:
            self.held = request.path[1:]
        if self._late_s is not None and self.sent == 1:
            later = asyncio.get_running_loop().call_later  # the work goes on after the answer
            later(self._late_s, setattr, self, "held", request.path[1:])
        return status if isinstance(status, NoReply) else Reply(status, {}, b"")


async def ends(vendor: Vendor, *, repeatable: bool, attempts: int = 3, **more: Any) -> RowResult:
    account = replace(SHOP, retry=replace(SHOP.retry, max_attempts=attempts))
    results, _ = await drive([job(1, "a", repeatable=repeatable)], vendor, account=account, **more)
    (result,) = results
    return result


@pytest.mark.parametrize(
    ("vendor", "repeatable", "status", "sent"),
    [
        # the connection dies after the deed: a read tells, and it is not sent again
        (lambda: Vendor((503, True)), False, Status.UPDATED, 1),
        # the same before the deed: certainly not applied, so it may be sent again
        (lambda: Vendor((503, False), (204, True)), False, Status.UPDATED, 2),
        # a 504, and the work is done a little later
        (lambda: Vendor((503, False), late_s=0.08), False, Status.UPDATED, 1),
        # applied, repeated, and the repetition is refused: what counts is what the vendor holds
        (lambda: Vendor((503, True), (404, False)), True, Status.UPDATED, 2),
        # not applied, repeated, refused: the refusal stands, once the read has shown it
        (lambda: Vendor((503, False), (404, False)), True, Status.REJECTED, 2),
        # never applied in all attempts
        (lambda: Vendor((503, False)), True, Status.FAILED, 3),
        # the entity is gone: certainly not applied
        (lambda: Vendor((503, False), reads=(404, 404, 404, 404)), False, Status.FAILED, 3),
        # what can be read does not tell
        (lambda: Vendor((503, True), reads=("cannot tell",)), False, Status.UNKNOWN, 1),
        # the read itself meets trouble, then tells
        (lambda: Vendor((503, True), reads=(503, SILENCE)), False, Status.UPDATED, 1),
        # nobody ever answers a read
        (lambda: Vendor((503, True), reads=(503,) * 9), False, Status.UNKNOWN, 1),
    ],
)
async def test_doubt_ends_as_it_truly_is(
    *, vendor: Callable[[], Vendor], repeatable: bool, status: Status, sent: int
):
    server = vendor()
    result = await ends(server, repeatable=repeatable)
    assert (result.status, server.sent) == (status, sent)
    if status is Status.UPDATED and sent == 1:
        assert result.receipt == '{"etag": "7"}'


async def test_without_a_read_what_may_not_be_repeated_stays_unknown():
    script = Script({"a": [503]})
    results, _ = await drive([job(1, "a", repeatable=False)], script)
    assert [result.status for result in results] == [Status.UNKNOWN]
    assert script.order == ["a"]


@pytest.mark.parametrize(
    ("held", "repeatable", "status", "sent", "read"),
    [
        ("a", False, Status.UPDATED, 0, 1),  # it had been applied: a read tells
        ("old", False, Status.UPDATED, 1, 2),  # it had not: sent, once that is certain
        ("old", True, Status.UPDATED, 1, 0),  # repeating is harmless: no need to ask
    ],
)
async def test_a_row_that_an_earlier_process_may_have_sent(held, repeatable, status, sent, read):
    vendor = Vendor((204, True))
    vendor.held = held
    result = await ends(vendor, repeatable=repeatable, earlier=Earlier(in_doubt=frozenset({1})))
    assert (result.status, vendor.sent, vendor.read) == (status, sent, read)


async def test_an_earlier_doubt_that_nothing_can_settle_is_told_and_not_sent():
    script = Script()
    results, _ = await drive(
        [job(1, "a", repeatable=False)], script, earlier=Earlier(in_doubt=frozenset({1}))
    )
    assert [(each.status, each.error_code) for each in results] == [(Status.UNKNOWN, "interrupted")]
    assert script.order == []


async def test_what_is_on_record_is_not_sent_again():
    script = Script()
    earlier = Earlier(ended=lambda rows: {row for row in rows if row % 2})
    jobs = [job(row, f"s{row}") for row in range(1, 21)]
    results, _ = await drive(jobs, script, earlier=earlier)
    assert sorted(result.row for result in results) == list(range(2, 21, 2))
    assert len(script.order) == 10


async def test_a_row_is_claimed_on_record_before_it_leaves():
    claims: list[int] = []

    class Watched(Script):
        async def send(self, request: Request) -> Reply | NoReply:
            assert int(request.path[2:]) in claims
            return await super().send(request)

    jobs = [job(row, f"s{row}") for row in range(1, 41)]
    results, _ = await drive(jobs, Watched(), claims=claims)
    assert len(results) == 40
    assert sorted(claims) == list(range(1, 41))


async def test_what_was_claimed_and_never_sent_is_released():
    claims: list[int] = []
    released: list[int] = []

    async def stop(pool, script):
        while len(script.order) < 5:
            await anyio.sleep(0.001)
        pool.stop("that is enough")

    script = Script({f"s{row}": [0.05] for row in range(1, 41)})
    jobs = [job(row, f"s{row}") for row in range(1, 41)]
    results, _ = await drive(jobs, script, claims=claims, released=released, meanwhile=stop)
    sent = {int(sku[1:]) for sku in script.order}
    assert {result.row for result in results} == sent
    assert set(claims) - set(released) == sent


async def test_where_nothing_can_be_claimed_nothing_leaves():
    script = Script()

    def refuse(_claims, _results):
        raise RunAborted("disk full")

    with pytest.raises(ExceptionGroup) as caught:
        await drive([job(1, "a")], script, record_with=refuse)
    assert caught.group_contains(RunAborted, match="disk full")
    assert script.order == []
