"""Whatever each single row meets, one result per row, in order, and the result is the truth.

Every job has its own list of replies, in turn: statuses, silence, cut replies, pauses, a 5xx that
was or was not carried out. What was really applied is the judge.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import JobRow, NoReply, Reply, Request, RowResult, Status
from pipeline.pacing.circuit_breaker import DOWN_AFTER
from pipeline.vendors import Account
from tests.workers.drive import ACCOUNT, ACME, PRICE, REFUSED, SILENCE, drive
from tests.workers.test_doubt import READING
from tests.workers.test_preconditions import SHELF, StateCache, item

CUT = NoReply("broken_reply", "the reply was cut off", may_have_arrived=True)
LOST_TURN = NoReply("signed_out", "the token ended", may_have_arrived=False, lost_turn=True)
NEVER_APPLIED = {Status.REJECTED, Status.FAILED, Status.CONFLICT, Status.NOT_ATTEMPTED}
TRIES = ACCOUNT.retry.max_attempts


class Step(NamedTuple):
    """What an attempt meets, and whether it is carried out before that."""

    meets: int | NoReply
    is_applied: bool


STEPS = st.sampled_from(
    [
        Step(204, True),
        *(Step(status, False) for status in (404, 422, 429)),
        *(Step(meets, done) for meets in (503, SILENCE, CUT) for done in (True, False)),
        *(Step(meets, False) for meets in (REFUSED, LOST_TURN)),
    ]
)
READS = st.sampled_from(["true", "true", 503, SILENCE, "cannot tell"])


class Plan(NamedTuple):
    """A row, and what it meets."""

    entity: str
    is_repeatable: bool
    steps: tuple[Step, ...]
    reads: tuple[Any, ...]


PLANS = st.builds(
    Plan,
    st.sampled_from("abcd"),
    st.booleans(),
    st.lists(STEPS, max_size=4).map(tuple),
    st.lists(READS, max_size=4).map(tuple),
)


class Vendor:
    """Holds the last value of each entity, and knows all that happened."""

    def __init__(self, plans: dict[str, Plan]) -> None:
        self._plans = plans
        self._turns: Counter[tuple[str, str]] = Counter()
        self.held: dict[str, str] = {}
        self.applied: Counter[str] = Counter()
        self.sent: list[str] = []
        self.confirmed: set[str] = set()
        self.sent_after_success: list[str] = []

    async def send(self, request: Request) -> Reply | NoReply:
        await anyio.lowlevel.checkpoint()
        value = request.path[1:]
        turn = self._turns[request.method, value]
        self._turns[request.method, value] += 1
        return self._read(value, turn) if request.method == "GET" else self._update(value, turn)

    def _update(self, value: str, turn: int) -> Reply | NoReply:
        steps = self._plans[value].steps
        step = steps[turn] if turn < len(steps) else Step(204, True)
        if step.meets is not LOST_TURN:
            self.sent.append(value)
            if value in self.confirmed:
                self.sent_after_success.append(value)
        if step.is_applied:
            self.held[self._plans[value].entity] = value
            self.applied[value] += 1
        if step.meets == 204:
            self.confirmed.add(value)
        if isinstance(step.meets, NoReply):
            return step.meets
        return Reply(step.meets, {"retry-after": "0.001"} if step.meets == 429 else {}, b"")

    def _read(self, value: str, turn: int) -> Reply | NoReply:
        reads = self._plans[value].reads
        told = reads[turn] if turn < len(reads) else "true"
        if isinstance(told, NoReply):
            return told
        if isinstance(told, int):
            return Reply(told, {}, b"")
        body = self.held.get(self._plans[value].entity, "") if told == "true" else told
        return Reply(200, {}, body.encode())


def account(*, can_be_read: bool, replaces: bool) -> Account:
    reading = replace(READING, settle_after_s=0.0) if can_be_read else None
    price = replace(PRICE, reading=reading, replaces=replaces)
    return replace(ACCOUNT, vendor=replace(ACME, operations=(price,)))


FIRST = Plan("first", True, (), ())  # it goes alone, and shows that the vendor answers


async def _drive(
    plans: Sequence[Plan], at: Account
) -> tuple[Vendor, list[JobRow], list[RowResult], str | None]:
    values = [f"{plan.entity}-{row}" for row, plan in enumerate([FIRST, *plans], 1)]
    by_value = dict(zip(values, [FIRST, *plans], strict=True))
    jobs = [
        JobRow(row, PRICE.name, plan.entity, plan.is_repeatable, f'{{"sku":"{value}","cents":995}}')
        for row, (value, plan) in enumerate(by_value.items(), 1)
    ]
    vendor = Vendor(by_value)
    results, sender = await drive(jobs, vendor, account=at, fail_fast_after=0)
    return vendor, jobs, results, sender.stopped


def _unmade(plan: Plan) -> int:
    """Attempts without any connection."""
    return sum(
        isinstance(step.meets, NoReply) and not step.meets.may_have_arrived for step in plan.steps
    )


@given(plans=st.lists(PLANS, max_size=12), can_be_read=st.booleans(), replaces=st.booleans())
@settings(max_examples=50, deadline=None)
def test_whatever_answers_each_row_gets_its_result_is_the_truth(plans, can_be_read, replaces):
    at = account(can_be_read=can_be_read, replaces=replaces)
    vendor, jobs, results, stopped = anyio.run(_drive, plans, at)
    # the last rows may have met no connection at all: nothing else is left that shows a way
    assert stopped is None or stopped.startswith("no connection was made")
    # one result per row
    counts = Counter(each.row for each in results)
    every = dict.fromkeys(range(1, len(jobs) + 1), 1)
    assert counts == every or (stopped and counts.items() <= every.items())  # the rest: not sent
    by_entity = defaultdict(list)
    for value in vendor.sent:
        entity, row = value.split("-")
        by_entity[entity].append(int(row))
    # the rows of an entity reach the vendor in row order; no send after success
    assert all(rows == sorted(rows) for rows in by_entity.values())
    assert vendor.sent_after_success == []
    sent = Counter(vendor.sent)
    # in an outage failures use no attempt of a row; each connection that fails is evidence of one
    entities = len({plan.entity for plan in plans})
    may_be_down = entities + sum(_unmade(plan) for plan in plans) >= DOWN_AFTER
    for each in results:
        job = jobs[each.row - 1]
        value = f"{job.entity}-{each.row}"
        plan = [FIRST, *plans][each.row - 1]
        throttled = sum(step.meets == 429 for step in plan.steps)
        # an attempt without any connection says nothing about its row
        most = len(plan.steps) + 1 if may_be_down else TRIES + throttled + _unmade(plan)
        assert sent[value] <= most
        assert each.attempts == sent[value]
        # what it says is what happened
        if each.status is Status.UPDATED:
            assert vendor.applied[value]
        elif each.status in NEVER_APPLIED:
            assert not vendor.applied[value]
        else:
            assert each.status is Status.UNKNOWN
        if not job.is_repeatable:
            assert vendor.applied[value] <= 1
        # nothing is merged_text upon what nobody knows
        if each.status is Status.NOT_ATTEMPTED:
            assert not vendor.applied[value]
            assert stopped or not replaces
            assert stopped or any(
                other.status is Status.UNKNOWN and other.row < each.row
                for other in results
                if jobs[other.row - 1].entity == job.entity
            )


class Meddler(NamedTuple):
    """What a guarded row meets: a step, and whether somebody else changes the list before it."""

    step: Step
    meddles: bool


GUARDED = st.lists(
    st.lists(st.builds(Meddler, STEPS, st.booleans()), max_size=4).map(tuple), max_size=4
)


class Crowded(StateCache):
    """A list to which others add, and attempts that meet what each row's own list says."""

    def __init__(self, plans: dict[str, tuple[Meddler, ...]]) -> None:
        super().__init__()
        self._plans = plans
        self._turns: Counter[str] = Counter()

    def patch(self, request: Request) -> Reply | NoReply:
        name = request.path[1:]
        plan, turn = self._plans[name], self._turns[name]
        self._turns[name] += 1
        step, meddles = plan[turn] if turn < len(plan) else Meddler(Step(204, True), False)
        if meddles:
            self.put("theirs")
        if step.is_applied:
            if request.headers["if"] == str(self.etag):
                self.put(name)
            elif step.meets == 204:
                return Reply(409, {}, b"")
        return self.reply_to(step.meets)

    @staticmethod
    def reply_to(meets: int | NoReply) -> Reply | NoReply:
        if isinstance(meets, NoReply):
            return meets
        return Reply(meets, {"retry-after": "0.001"} if meets == 429 else {}, b"")


async def _crowd(plans: Sequence[tuple[Meddler, ...]]) -> tuple[Crowded, list[RowResult]]:
    names = [f"n{row}" for row in range(1, len(plans) + 2)]
    shelf = Crowded(dict(zip(names, [(), *plans], strict=True)))
    jobs = [item(row, name) for row, name in enumerate(names, 1)]
    reading = replace(SHELF.vendor.operations[0].reading, settle_after_s=0.0)
    operation = replace(SHELF.vendor.operations[0], reading=reading)
    at = replace(SHELF, vendor=replace(ACME, operations=(operation,)))
    results, _ = await drive(jobs, shelf, account=at, fail_fast_after=0)
    return shelf, results


@given(GUARDED)
@settings(max_examples=50, deadline=None)
def test_whatever_answers_a_row_with_a_precondition_gets_it_is_applied_at_most_once(plans):
    shelf, results = anyio.run(_crowd, plans)
    assert sorted(each.row for each in results) == list(range(1, len(plans) + 2))
    happened = Counter(shelf.items)
    for each in results:
        times = happened[f"n{each.row}"]
        assert times <= 1
        if each.status is Status.UPDATED:
            assert times == 1
        elif each.status in NEVER_APPLIED:
            assert times == 0
    ours = [int(name[1:]) for name in shelf.items if name.startswith("n")]
    assert ours == sorted(ours)
