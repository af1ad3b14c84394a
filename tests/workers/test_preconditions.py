"""What must not happen twice is read first, tied to what was read, and never guessed about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pipeline.model import (
    Answer,
    JobRow,
    NoReply,
    Reply,
    Request,
    RowResult,
    Status,
    UpdateJob,
)
from pipeline.vendors.kit.contract import MISSING, Difference, EntityRead, Guard, Operation, State
from pipeline.workers.environment import RecoveredState
from tests.workers.drive import ACCOUNT, ACME, MEANING, PRICE, REFUSED, SILENCE, drive

SETTLE_AFTER_S = 0.05


class Added(UpdateJob):
    """An item that is added to a list; done twice, it stands there twice."""

    sku: str
    etag: str = ""
    before: str = ""


def guarded(_settings: Any, job: Added, state: State) -> Added | None:
    if state.etag is None:
        return None
    before = json.dumps(state.fields["items"])
    return job.model_copy(update={"etag": state.etag, "before": before})


def differences(_settings: Any, job: Added, state: State) -> tuple[Difference, ...]:
    items = state.fields["items"]
    if not job.etag:
        return (Difference("items", job.sku, None, is_decided=job.sku not in items),)
    before = json.loads(job.before)
    if items == [*before, job.sku]:
        return ()
    return (Difference("items", job.sku, items, is_decided=items == before),)


def decode(_settings: Any, _jobs: Sequence[Added], reply: Reply | NoReply) -> tuple[Answer, ...]:
    if isinstance(reply, Reply) and reply.status == 409:
        return (Answer(*MEANING[422], 409, "stale", "not that etag"),)
    return PRICE.decode(_settings, (), reply)


ADD = Operation[Any, Added](
    name="acme.item",
    summary="an item of a list",
    job_type=Added,
    entity_kind="list",
    replaces=False,
    defaults=PRICE.defaults,
    entity=PRICE.entity,
    encode=lambda _s, jobs: Request("PATCH", f"/{jobs[0].sku}", headers={"if": jobs[0].etag}),
    confirmation=PRICE.confirmation,
    decode=decode,
    repeatable=lambda _s, job: bool(job.etag),
    repeat_note="only with an etag",
    reading=EntityRead(
        request=lambda _s, job: Request("GET", f"/{job.sku}"),
        state=lambda _s, _job, reply: (
            MISSING
            if reply.status == 404
            else State(json.loads(reply.body), reply.headers.get("etag"))
            if reply.status == 200
            else None
        ),
        differences=differences,
        settle_after_s=SETTLE_AFTER_S,
    ),
    guard=Guard(
        needs=lambda _s, job: not job.etag,
        guarded=guarded,
        refusal=lambda _s, answer: answer.http_status in {409, 422},
        expected=lambda _s, job: f"etag {job.etag}",
    ),
)
SHELF = replace(ACCOUNT, vendor=replace(ACME, operations=(ADD,)))


class StateCache:
    """A list with an etag. `meets` says what each attempt meets, and whether it gets through.

    reads    what reads meet, in turn: a status, silence, or a call before the true answer
    before   called before an attempt is looked at: what others do meanwhile
    """

    def __init__(
        self,
        *meets: tuple[int | NoReply, bool],
        reads: Sequence[Any] = (),
        before: Callable[[StateCache], None] = lambda _shelf: None,
    ) -> None:
        self.meets = list(meets)
        self.reads = list(reads)
        self.before = before
        self.items = ["old"]
        self.etag = 1
        self.has_etags = True
        self.asked: list[str] = []

    def put(self, item: str) -> None:
        self.items = [*self.items, item]
        self.etag += 1

    async def send(self, request: Request) -> Reply | NoReply:
        self.asked.append(request.method)
        await anyio.sleep(0.001)
        return self.read() if request.method == "GET" else self.patch(request)

    def read(self) -> Reply | NoReply:
        status = self.reads.pop(0) if self.reads else 200
        if isinstance(status, NoReply):
            return status
        if status != 200:
            return Reply(status, {}, b"")
        etag = {"etag": str(self.etag)} if self.has_etags else {}
        return Reply(200, etag, json.dumps({"items": self.items}).encode())

    def patch(self, request: Request) -> Reply | NoReply:
        self.before(self)
        meets, gets_through = self.meets.pop(0) if self.meets else (204, True)
        if gets_through:
            if request.headers["if"] not in ("", str(self.etag)):
                return Reply(409, {}, b"") if meets == 204 else self.reply_to(meets)
            self.put(request.path[1:])
        return self.reply_to(meets)

    @staticmethod
    def reply_to(meets: int | NoReply) -> Reply | NoReply:
        return meets if isinstance(meets, NoReply) else Reply(meets, {}, b"")


def item(row: int, name: str = "new") -> JobRow:
    return JobRow(row, "acme.item", "shelf", False, f'{{"sku":"{name}"}}')


async def ends(shelf: StateCache, *, attempts: int = 3, **more: Any) -> RowResult:
    account = replace(SHELF, retry=replace(SHELF.retry, max_attempts=attempts))
    results, _ = await drive([item(1)], shelf, account=account, **more)
    (result,) = results
    return result


def meanwhile(*items: str) -> Callable[[StateCache], None]:
    """Before each attempt somebody else adds an item, as long as there are any."""
    left = list(items)

    def change(shelf: StateCache) -> None:
        if left:
            shelf.put(left.pop(0))

    return change


GET, PATCH = "GET", "PATCH"


@pytest.mark.parametrize(
    ("shelf", "status", "asked", "items"),
    [
        # read, sent with what was read
        (StateCache, Status.UPDATED, [GET, PATCH], ["old", "new"]),
        # the answer was lost after the deed: the repetition is refused, a read tells why
        (
            lambda: StateCache((SILENCE, True)),
            *(Status.UPDATED, [GET, PATCH, PATCH, GET], ["old", "new"]),
        ),
        # lost before the deed: the repetition does it, once
        (lambda: StateCache((SILENCE, False)), Status.UPDATED, [GET, PATCH, PATCH], ["old", "new"]),
        # somebody was faster: read again, and sent with that
        (
            lambda: StateCache(before=meanwhile("theirs")),
            *(Status.UPDATED, [GET, PATCH, GET, PATCH], ["old", "theirs", "new"]),
        ),
        # each time: a conflict, once there is no try left
        (
            lambda: StateCache(before=meanwhile("1", "2", "3")),
            *(Status.CONFLICT, [GET, PATCH] * 3 + [GET], ["old", "1", "2", "3"]),
        ),
        # the same refusal, and the entity is as it was: it is the row that is refused
        (lambda: StateCache((422, False)), Status.REJECTED, [GET, PATCH, GET], ["old"]),
        # nothing arrived, and somebody was faster: the refusal in doubt is resolved, then sent
        (
            lambda: StateCache(
                (SILENCE, False), before=lambda s: s.put("x") if s.etag == 1 else None
            ),
            *(Status.UNKNOWN, [GET, PATCH, PATCH, GET], ["old", "x"]),
        ),
        # a 5xx whose work is done, and somebody comes after it: what is read tells nothing
        (
            lambda: StateCache((503, True), before=lambda s: s.put("x") if s.etag == 2 else None),
            *(Status.UNKNOWN, [GET, PATCH, PATCH, GET], ["old", "new", "x"]),
        ),
        # never connected: not in doubt, the guard holds
        (lambda: StateCache((REFUSED, False)), Status.UPDATED, [GET, PATCH, PATCH], ["old", "new"]),
        # the read meets trouble first
        (
            lambda: StateCache(reads=[503, SILENCE]),
            Status.UPDATED,
            [GET] * 3 + [PATCH],
            ["old", "new"],
        ),
        # and never gets through: certainly nothing was sent
        (lambda: StateCache(reads=[503] * 9), Status.FAILED, [GET] * 3, ["old"]),
        # there is no such entity
        (lambda: StateCache(reads=[404]), Status.REJECTED, [GET], ["old"]),
    ],
)
async def test_what_must_not_happen_twice_happens_once(shelf, status, asked, items):
    vendor = shelf()
    result = await ends(vendor)
    assert (result.status, vendor.asked, vendor.items) == (status, asked, items)
    assert result.attempts == vendor.asked.count(PATCH)


async def test_a_conflict_gives_both_values():
    result = await ends(StateCache(before=meanwhile("1", "2", "3")))
    assert (result.error_code, result.http_status) == ("changed_meanwhile", 409)
    assert "expected etag 3, found etag 4" in result.error


async def test_a_row_that_can_get_no_precondition_is_not_sent():
    shelf = StateCache()
    shelf.has_etags = False
    result = await ends(shelf)
    assert (result.status, result.error_code, shelf.asked) == (Status.FAILED, "no_guard", [GET])
    assert (result.attempts, result.seconds) == (0, 0.0)


async def test_rows_of_one_entity_read_their_preconditions_one_after_the_other():
    shelf = StateCache((SILENCE, True))
    results, sender = await drive([item(n, f"n{n}") for n in range(1, 5)], shelf, account=SHELF)
    assert {each.status for each in results} == {Status.UPDATED}
    assert shelf.items == ["old", "n1", "n2", "n3", "n4"]
    assert sender.progress().sent == len(shelf.asked) == 4 * 2 + 2  # reads use the quota, too


async def test_after_a_stop_between_read_and_attempt_nothing_is_in_doubt():
    shelf = StateCache()
    claims: list[int] = []
    released: list[int] = []

    async def stop(pool: Any, _script: Any) -> None:
        while not shelf.asked:
            await anyio.lowlevel.checkpoint()
        pool.stop("that is enough")

    results, _ = await drive(
        [item(1)], shelf, account=SHELF, meanwhile=stop, claims=claims, released=released
    )
    assert (results, claims, released, shelf.asked) == ([], [1], [1], [GET])


@pytest.mark.parametrize(
    ("held", "status", "asked"),
    [
        (["old", "new"], Status.UNKNOWN, [GET]),  # it may have stood there before
        (["old"], Status.UPDATED, [GET, GET, GET, PATCH]),  # not yet, still not, its guard, sent
    ],
)
async def test_a_row_whose_precondition_was_lost_with_its_process_is_read(held, status, asked):
    shelf = StateCache()
    shelf.items = held
    result = await ends(shelf, recovered=RecoveredState(in_doubt=frozenset({1})))
    assert (result.status, shelf.asked) == (status, asked)
    assert shelf.items == ["old", "new"]


async def test_a_wrong_project_shows_in_reads_that_come_first():
    shelf = StateCache(reads=[404] * 99)
    jobs = [item(n)._replace(entity=f"e{n}") for n in range(1, 99)]
    results, sender = await drive(jobs, shelf, account=SHELF)
    assert sender.stopped is not None
    assert "--no-fail-fast" in sender.stopped
    assert {each.status for each in results} == {Status.REJECTED}
    assert len(shelf.asked) < 40


async def test_a_read_that_fails_leaves_no_doubt_about_an_update():
    result = await ends(StateCache(reads=[503] * 9))
    assert "nothing was sent" in result.hint


async def test_a_read_that_is_cancelled_after_the_grace_leaves_its_row_untouched():
    class Hanging(StateCache):
        async def send(self, request: Request) -> Reply | NoReply:
            self.asked.append(request.method)
            await anyio.sleep(60)
            raise AssertionError

    shelf = Hanging()
    claims: list[int] = []
    released: list[int] = []

    async def stop(pool: Any, _script: Any) -> None:
        while not shelf.asked:
            await anyio.sleep(0.001)
        pool.stop("that is enough")

    results, _ = await drive(
        [item(1)],
        shelf,
        account=SHELF,
        meanwhile=stop,
        claims=claims,
        released=released,
        grace_s=0.01,
    )
    assert (results, claims, released) == ([], [1], [1])


async def test_a_stop_after_a_refused_precondition_leaves_a_row_that_was_certainly_not_applied():
    shelf = StateCache(before=meanwhile("theirs"))

    async def stop(pool: Any, _script: Any) -> None:
        while PATCH not in shelf.asked:
            await anyio.sleep(0.001)
        await anyio.sleep(0.01)
        pool.stop("that is enough")

    slow = replace(SHELF, retry=replace(SHELF.retry, base_s=9.0, cap_s=9.0))
    results, _ = await drive([item(1)], shelf, account=slow, meanwhile=stop)
    (result,) = results
    assert (result.status, shelf.items) == (Status.NOT_ATTEMPTED, ["old", "theirs"])
    assert "no further attempt: that is enough" in result.error
