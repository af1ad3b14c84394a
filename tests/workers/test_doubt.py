"""Rows that may have been applied: claimed, read back, resolved, and never guessed about."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pipeline.model import NoReply, Reply, Request, RowResult, RunAborted, Status
from pipeline.vendors.kit.contract import MISSING, Difference, EntityRead, State
from pipeline.workers.environment import RecoveredState
from tests.workers.drive import ACCOUNT, ACME, PRICE, SILENCE, Script, drive, job

SETTLE_AFTER_S = 0.15


def differences(_settings: Any, wanted: Any, state: State) -> tuple[Difference, ...]:
    found = state.fields["sku"]
    if found == "cannot tell":
        return (Difference("sku", wanted.sku, None, is_decided=False),)
    return () if found == wanted.sku else (Difference("sku", wanted.sku, found),)


def state_of(_settings: Any, _job: Any, reply: Reply) -> Any:
    if reply.status == 404:
        return MISSING
    return State({"sku": reply.body.decode()}, etag="7") if reply.status == 200 else None


READING = EntityRead(
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
        reply = self._reads.pop(0) if self._reads else self.held
        if isinstance(reply, NoReply):
            return reply
        if isinstance(reply, int):
            return Reply(reply, {}, b"")
        return Reply(200, {}, reply.encode())

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
        # taken, and done: a read tells at once, whether or not it could be repeated
        (lambda: Vendor((202, True)), True, Status.UPDATED, 1),
        (lambda: Vendor((202, True)), False, Status.UPDATED, 1),
        # taken, and done a little later
        (lambda: Vendor((202, False), late_s=0.08), True, Status.UPDATED, 1),
        # taken, and not done: sent again it would be taken again
        (lambda: Vendor((202, False)), True, Status.FAILED, 1),
        # it may have been applied by the attempt before: a read tells
        (lambda: Vendor((503, True), (202, False)), True, Status.UPDATED, 2),
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


@pytest.mark.parametrize(
    ("repeatable", "sent"),
    [(True, 3), (False, 1)],  # repeated where that is harmless
)
async def test_without_a_read_what_is_not_confirmed_ends_unknown(repeatable, sent):
    script = Script({"a": [202]})
    results, _ = await drive([job(1, "a", repeatable=repeatable)], script)
    assert [(each.status, each.error_code) for each in results] == [
        (Status.UNKNOWN, "not_confirmed")
    ]
    assert len(script.order) == sent


async def test_a_vendor_that_confirms_otherwise_than_documented_is_not_down():
    """Each row costs a read, and none waits for the end of an outage."""

    class Takes(Vendor):
        async def send(self, request: Request) -> Reply | NoReply:
            is_read = request.method == "GET"
            return Reply(200, {}, request.path[1:].encode()) if is_read else Reply(202, {}, b"")

    jobs = [job(row, f"{row}") for row in range(1, 41)]
    results, sender = await drive(jobs, Takes(), account=SHOP, fail_fast_after=0)
    assert {(each.status, each.attempts) for each in results} == {(Status.UPDATED, 1)}
    assert not sender.progress().is_probing


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
    result = await ends(
        vendor, repeatable=repeatable, recovered=RecoveredState(in_doubt=frozenset({1}))
    )
    assert (result.status, vendor.sent, vendor.read) == (status, sent, read)


async def test_an_earlier_doubt_that_nothing_can_resolve_is_reported_and_not_sent():
    script = Script()
    results, _ = await drive(
        [job(1, "a", repeatable=False)], script, recovered=RecoveredState(in_doubt=frozenset({1}))
    )
    assert [(each.status, each.error_code) for each in results] == [(Status.UNKNOWN, "interrupted")]
    assert script.order == []


async def test_what_is_on_record_is_not_sent_again():
    script = Script()
    earlier = RecoveredState(ended=lambda rows: {row: Status.UPDATED for row in rows if row % 2})
    jobs = [job(row, f"s{row}") for row in range(1, 21)]
    results, _ = await drive(jobs, script, recovered=earlier)
    assert sorted(result.row for result in results) == list(range(2, 21, 2))
    assert len(script.order) == 10


async def test_a_row_is_claimed_on_record_before_it_is_sent():
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


async def test_if_nothing_can_be_claimed_nothing_is_sent():
    script = Script()

    def refuse(*_recorded: object) -> None:
        raise RunAborted("disk full")

    with pytest.raises(ExceptionGroup) as caught:
        await drive([job(1, "a")], script, record_with=refuse)
    assert caught.group_contains(RunAborted, match="disk full")
    assert script.order == []


# A stop


async def stopped_in_doubt(
    vendor: Vendor, is_so: Callable[[], bool], *, repeatable: bool, **more: Any
) -> tuple[list[RowResult], list[int]]:
    """Results, and the rows that stay claimed, of a run that is stopped once it is so."""

    async def stop(pool: Any, _script: Any) -> None:
        while not is_so():
            await anyio.lowlevel.checkpoint()  # not later: the next row leaves soon
        pool.stop("interrupted by SIGTERM")

    claims: list[int] = []
    released: list[int] = []
    jobs = [job(1, "a", repeatable=repeatable), job(2, "a", repeatable=repeatable)]
    results, _ = await drive(jobs, vendor, meanwhile=stop, claims=claims, released=released, **more)
    return results, sorted(set(claims) - set(released) - {each.row for each in results})


@pytest.mark.parametrize(
    ("account", "repeatable", "results", "open_rows"),
    [
        (SHOP, False, 0, [1]),  # a read resolves it
        (SHOP, True, 0, [1]),
        (ACCOUNT, True, 0, [1]),  # repeating it does
        (ACCOUNT, False, 1, []),  # nothing does: it ends unknown
    ],
)
async def test_a_stop_leaves_in_doubt_what_can_still_be_resolved(
    account, repeatable, results, open_rows
):
    slow = replace(account, retry=replace(account.retry, max_attempts=9, base_s=9.0, cap_s=9.0))
    vendor = Vendor((503, True), reads=(503,) * 9)
    ended, still_open = await stopped_in_doubt(
        vendor, lambda: vendor.sent + vendor.read == 1 + (not repeatable and account is SHOP),
        repeatable=repeatable, account=slow,
    )  # fmt: skip
    assert ([each.row for each in ended], still_open) == ([1] * results, open_rows)
    assert {each.status for each in ended} <= {Status.UNKNOWN}
    assert vendor.sent == 1  # the second row of the entity never left


async def test_a_row_that_a_stop_left_in_doubt_is_resolved_by_the_next_process_and_sent_once():
    vendor = Vendor((503, True), reads=(503,))
    account = replace(SHOP, retry=replace(SHOP.retry, max_attempts=9, base_s=9.0, cap_s=9.0))
    _, still_open = await stopped_in_doubt(
        vendor, lambda: vendor.read == 1, repeatable=False, account=account
    )
    earlier = RecoveredState(in_doubt=frozenset(still_open))
    jobs = [job(1, "a", repeatable=False), job(2, "b", repeatable=False)]
    results, _ = await drive(jobs, vendor, account=SHOP, recovered=earlier)
    assert {each.row: each.status for each in results} == {1: Status.UPDATED, 2: Status.UPDATED}
    assert vendor.sent == 2  # each row once


@pytest.mark.parametrize(
    ("account", "repeatable", "meets", "reads"),
    [
        (ACCOUNT, True, ((503, True), (401, False)), ()),  # the repetition is refused
        (SHOP, True, ((503, True), (401, False)), (401,)),  # the same, and so is the read
        (SHOP, False, ((503, True),), (401,)),  # the read is refused
    ],
)
async def test_a_fatal_answer_leaves_doubt_to_a_process_with_better_credentials(
    account, repeatable, meets, reads
):
    claims: list[int] = []
    results, sender = await drive(
        [job(1, "a", repeatable=repeatable)],
        Vendor(*meets, reads=reads),
        account=account,
        claims=claims,
    )
    assert (results, claims) == ([], [1])
    assert sender.stopped is not None


async def test_a_refused_repetition_is_resolved_by_a_read_that_is_not_refused():
    vendor = Vendor((503, True), (401, False))
    (result,), _ = await drive([job(1, "a")], vendor, account=SHOP)
    assert (result.status, vendor.sent) == (Status.UPDATED, 2)


@pytest.mark.parametrize("reading_s", [0.0, 0.05])
async def test_a_vendor_that_never_answers_resolves_nothing_and_loses_nothing(reading_s):
    """Carried on while the vendor is down: the account stops, rows in doubt stay so on record."""
    vendor = Vendor((SILENCE, False), reads=(SILENCE,) * 99)
    jobs = [job(row, f"s{row}", repeatable=False) for row in range(1, 6)]
    earlier = RecoveredState(in_doubt=frozenset({1, 2, 3}))
    results, sender = await drive(
        jobs, vendor, account=SHOP, recovered=earlier, reading_s=reading_s
    )
    assert results == []
    assert sender.stopped is not None
    assert "no reply came to the first request" in sender.stopped
    assert vendor.read + vendor.sent == 3  # for two entities


async def test_refused_reads_are_no_refused_updates():
    """Thirty of them at the start of a resumed run do not stop the account."""
    reading = replace(
        READING, state=lambda _s, _job, reply: None if reply.status == 404 else MISSING
    )
    account = replace(SHOP, vendor=replace(ACME, operations=(replace(PRICE, reading=reading),)))
    vendor = Vendor((204, True), reads=(404,) * 30)
    jobs = [job(row, f"s{row}", repeatable=False) for row in range(1, 41)]
    earlier = RecoveredState(in_doubt=frozenset(range(1, 31)))
    results, sender = await drive(jobs, vendor, account=account, recovered=earlier)
    assert sender.stopped is None
    assert Counter(each.status for each in results) == {Status.UNKNOWN: 30, Status.UPDATED: 10}
