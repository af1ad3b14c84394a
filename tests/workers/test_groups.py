"""Several rows in one request: who travels together, and what a refusal of the whole costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio
import pytest

from pipeline.model import (
    Answer,
    Effect,
    JobRow,
    NoReply,
    Reply,
    Request,
    RowResult,
    Status,
    Verdict,
)
from pipeline.vendors import Operation, VendorSettings
from pipeline.workers.environment import RecoveredState
from tests.acme import Price
from tests.workers.drive import ACCOUNT, ACME, PRICE, SILENCE, drive, limiter_of

SIZE = 20


def decode(_settings: VendorSettings, jobs: Sequence[Price], reply: Reply | NoReply):
    if isinstance(reply, NoReply):
        return (Answer(Verdict.TRANSIENT, Effect.MAYBE, code="silence", message="?"),) * len(jobs)
    if reply.status == 200:
        return (Answer(Verdict.OK, Effect.APPLIED, 200),) * len(jobs)
    if reply.status == 503:
        return (Answer(Verdict.TRANSIENT, Effect.MAYBE, 503, "503", "later"),) * len(jobs)
    if reply.status == 403:
        return (Answer(Verdict.FATAL, Effect.NONE, 403, "403", "no"),) * len(jobs)
    alone = {404: Verdict.REJECTED, 500: Verdict.TRANSIENT}[reply.status]
    verdict = Verdict.SPLIT if len(jobs) > 1 else alone
    effect = Effect.NONE if reply.status == 404 else Effect.MAYBE
    return (Answer(verdict, effect, reply.status, str(reply.status), "no"),) * len(jobs)


GROUPS: Operation = replace(
    PRICE,
    replaces=False,
    encode=lambda _s, jobs: Request("PUT", "/" + ",".join(job.sku for job in jobs)),
    decode=decode,
    batch_key=lambda _s, _job: "x",
    batch_size=lambda _s: SIZE,
)
SHOP = replace(ACCOUNT, vendor=replace(ACME, operations=(GROUPS,)))
PATIENT = replace(SHOP, retry=replace(SHOP.retry, max_attempts=5))


class Vendor:
    """Answers a group as a whole, after what `meets` says of the skus in it."""

    def __init__(
        self, meets: Callable[[list[str], int], int | NoReply], refuses_after_s: float = 0.0005
    ) -> None:
        self._meets = meets
        self._refuses_after_s = refuses_after_s
        self.asked: list[list[str]] = []
        self.applied: Counter[str] = Counter()

    async def send(self, request: Request) -> Reply | NoReply:
        skus = request.path[1:].split(",")
        self.asked.append(skus)
        met = self._meets(skus, len(self.asked))
        await anyio.sleep(0.0005 if met == 200 else self._refuses_after_s)
        if isinstance(met, NoReply):
            return met
        if met == 200:
            self.applied.update(skus)
        return Reply(met, {}, b"")


def rows(count: int, *, batch: str = "x") -> list[JobRow]:
    return [
        JobRow(n, "acme.price", f"s{n}", True, f'{{"sku":"s{n}","cents":995}}', batch)
        for n in range(1, count + 1)
    ]


def statuses(results: list[RowResult]) -> dict[int, Status]:
    assert len({result.row for result in results}) == len(results)
    return {result.row: result.status for result in results}


async def test_rows_share_requests():
    vendor = Vendor(lambda _skus, _n: 200)
    results, _ = await drive(rows(100), vendor, account=SHOP, batch_rows=100)
    assert set(statuses(results).values()) == {Status.UPDATED}
    assert len(vendor.asked) == 5
    assert set(vendor.applied.values()) == {1}


async def test_rows_that_travel_alone_do():
    vendor = Vendor(lambda _skus, _n: 200)
    await drive(rows(7, batch=""), vendor, account=SHOP)
    assert [len(skus) for skus in vendor.asked] == [1] * 7


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        (404, Status.REJECTED),  # the vendor says what is wrong
        (500, Status.UNKNOWN),  # it may have been applied: nobody knows what 500 means here
    ],
)
async def test_of_each_group_exactly_the_bad_row_is_refused(status, ends):
    bad = {f"s{n}" for n in range(1, 2001) if n % SIZE == n // SIZE % SIZE}
    vendor = Vendor(lambda skus, _n: status if bad & set(skus) else 200)
    account = replace(SHOP, retry=replace(SHOP.retry, max_attempts=2))
    results, sender = await drive(rows(2000), vendor, account=account, batch_rows=500)
    found = statuses(results)
    assert len(found) == 2000
    assert sender.stopped is None
    assert {f"s{row}" for row, how in found.items() if how is not Status.UPDATED} == bad
    assert {how for row, how in found.items() if f"s{row}" in bad} == {ends}
    assert vendor.applied == {f"s{n}": 1 for n in range(1, 2001) if f"s{n}" not in bad}
    per_group = len(vendor.asked) / 100
    assert per_group < 13  # 21 if each went alone


@pytest.mark.parametrize(
    ("count", "bad"),
    [
        (8, {3}),  # one group, and nobody else to ask than its own rows
        (8, {1}),
        (20, {1, 20}),
        (400, set(range(10, 400, 20))),  # one in each group
        (400, set(range(1, 41))),  # their parts are refused last: some rows are kept as probes
        (2, {1}),
        (2, {2}),
    ],
)
async def test_a_forbidden_row_costs_its_group_some_requests_and_no_row(count, bad):
    names = {f"s{n}" for n in bad}
    vendor = Vendor(lambda skus, _n: 403 if names & set(skus) else 200)
    with anyio.fail_after(60):
        results, sender = await drive(rows(count), vendor, account=SHOP, batch_rows=count)
    assert sender.stopped is None
    found = statuses(results)
    assert {row for row, how in found.items() if how is Status.REJECTED} == bad
    assert len(found) == count
    assert vendor.applied == {f"s{n}": 1 for n in range(1, count + 1) if n not in bad}


@pytest.mark.parametrize(("count", "bad"), [(400, 20), (120, 40)])
async def test_forbidden_rows_that_are_refused_last_stop_no_account_that_works(count, bad):
    """Refusals take longer than all the others: the last rows are kept to tell what they mean."""
    names = {f"s{n}" for n in range(1, bad + 1)}
    vendor = Vendor(lambda skus, _n: 403 if names & set(skus) else 200, refuses_after_s=0.02)
    with anyio.fail_after(60):
        results, sender = await drive(rows(count), vendor, account=SHOP, batch_rows=count)
    assert sender.stopped is None
    assert Counter(statuses(results).values()) == {
        Status.UPDATED: count - bad,
        Status.REJECTED: bad,
    }


async def test_a_group_that_was_refused_before_is_split_when_nothing_else_is_left():
    vendor = Vendor(lambda skus, _n: 403 if "s2" in skus else 200)
    earlier = RecoveredState(refused=dict.fromkeys(range(1, 9), 403))
    results, sender = await drive(rows(8), vendor, account=SHOP, batch_rows=8, recovered=earlier)
    assert sender.stopped is None
    assert {row for row, how in statuses(results).items() if how is not Status.UPDATED} == {2}


async def test_a_forbidden_account_leaves_its_groups_unjudged():
    vendor = Vendor(lambda _skus, _n: 403)
    results, sender = await drive(rows(400), vendor, account=SHOP, batch_rows=400)
    assert sender.stopped is not None
    assert len(vendor.asked) == 4
    assert set(statuses(results).values()) == {Status.NOT_ATTEMPTED}


async def test_in_an_outage_no_group_is_split():
    """The vendor answers 500 to all, for a while: what is sent in that time is whole or alone."""
    down = range(6, 40)
    vendor = Vendor(lambda _skus, n: 500 if n in down else 200)
    account = replace(PATIENT, retry=replace(PATIENT.retry, max_attempts=50))
    results, _ = await drive(rows(400), vendor, account=account, batch_rows=400)
    assert set(statuses(results).values()) == {Status.UPDATED}
    sizes = Counter(len(skus) for skus in vendor.asked[5:39])
    whole = sum(count for size, count in sizes.items() if size > SIZE / 2)
    assert whole + sizes[1] == len(vendor.asked[5:39])  # a few rows asked, and no halves


async def test_a_group_that_fails_once_is_retried_as_it_is():
    vendor = Vendor(lambda _skus, n: 503 if n in {2, 5} else 200)
    results, _ = await drive(rows(100), vendor, account=PATIENT, batch_rows=100)
    assert set(statuses(results).values()) == {Status.UPDATED}
    assert {len(skus) for skus in vendor.asked} == {SIZE}


@pytest.mark.parametrize("attempts", [1, 5])
@pytest.mark.parametrize("meets", [503, SILENCE])
async def test_a_row_that_is_never_answered_costs_no_other_of_its_group(meets, attempts):
    bad = {"s7", "s33", "s34"}
    vendor = Vendor(lambda skus, _n: meets if bad & set(skus) else 200)
    account = replace(SHOP, retry=replace(SHOP.retry, max_attempts=attempts))
    results, sender = await drive(rows(60), vendor, account=account, batch_rows=60)
    assert sender.stopped is None
    found = statuses(results)
    assert {f"s{row}" for row, status in found.items() if status is not Status.UPDATED} == bad
    assert {found[int(sku[1:])] for sku in bad} == {Status.UNKNOWN}


async def test_a_dead_vendor_stops_the_account_and_leaves_its_rows_in_doubt():
    """They stay claimed: a resumed run may resolve them."""
    vendor, claims = Vendor(lambda _skus, _n: 500), []
    account = replace(SHOP, max_outage_s=0.7)
    results, sender = await drive(rows(60), vendor, account=account, batch_rows=60, claims=claims)
    assert "max_outage_s" in sender.stopped
    assert set(statuses(results).values()) <= {Status.UNKNOWN}
    assert {*claims} == {*range(1, 61)}


async def test_a_split_is_not_counted_as_an_attempt():
    """One attempt is all a row has; a good row of a refused group still gets it."""
    account = replace(SHOP, retry=replace(SHOP.retry, max_attempts=1))
    vendor = Vendor(lambda skus, _n: 404 if "s3" in skus else 200)
    results, _ = await drive(rows(20), vendor, account=account, batch_rows=20)
    found = statuses(results)
    assert found.pop(3) is Status.REJECTED
    assert set(found.values()) == {Status.UPDATED}


async def test_rows_of_a_group_that_stops_stay_in_doubt_on_record():
    vendor = Vendor(lambda _skus, _n: 500)

    async def stop(pool, vendor):
        while len(vendor.asked) < 3:
            await anyio.sleep(0.0005)
        pool.stop("that is enough")

    account = replace(PATIENT, retry=replace(PATIENT.retry, max_attempts=99, cap_s=9, base_s=9))
    claims, released = [], []
    kept = {"claims": claims, "released": released}
    results, _ = await drive(
        rows(60), vendor, account=account, meanwhile=stop, batch_rows=60, **kept
    )
    asked = {sku for skus in vendor.asked for sku in skus}
    assert results == []
    assert {f"s{row}" for row in set(claims) - set(released)} == asked


async def test_behind_an_unknown_row_nothing_of_its_entity_is_sent():
    jobs = [
        JobRow(n, "acme.price", sku, False, f'{{"sku":"{sku}","cents":995}}')
        for n, sku in enumerate(["a", "b", "a", "a", "b"], 1)
    ]
    vendor = Vendor(lambda skus, _n: SILENCE if skus == ["a"] else 200)
    results, sender = await drive(jobs, vendor, account=replace(SHOP, in_flight=2), batch_rows=5)
    assert sender.stopped is None or vendor.asked == [["a"]]
    found = statuses(results)
    assert found[1] is Status.UNKNOWN
    assert vendor.asked.count(["a"]) == 1
    if sender.stopped is None:
        assert found == {
            1: Status.UNKNOWN,
            2: Status.UPDATED,
            3: Status.NOT_ATTEMPTED,
            4: Status.NOT_ATTEMPTED,
            5: Status.UPDATED,
        }


async def test_a_request_without_a_valid_permit_is_queued_again_and_no_attempt_is_counted():
    lost = NoReply("signed_out", "the token had ended", may_have_arrived=False, lost_turn=True)
    vendor = Vendor(lambda _skus, n: lost if n in {2, 3, 4} else 200)
    account = replace(SHOP, retry=replace(SHOP.retry, max_attempts=1))
    results, _ = await drive(rows(60), vendor, account=account, batch_rows=60)
    assert set(statuses(results).values()) == {Status.UPDATED}
    assert {result.attempts for result in results} == {1}


async def test_while_too_many_rows_are_held_nothing_fresh_is_sent(monkeypatch):
    """The one row that asks gets no answer: what is sent meanwhile is bounded."""
    monkeypatch.setattr("pipeline.workers.account_sender.MAX_HELD", 100)
    asked_alone = anyio.Event()

    class Hanging(Vendor):
        async def send(self, request: Request) -> Reply | NoReply:
            if "," not in request.path and not asked_alone.is_set():
                asked_alone.set()
                await anyio.sleep(0.3)
            return await super().send(request)

    vendor = Hanging(lambda skus, _n: 500 if len(skus) > 1 and not released else 200)
    released: list[bool] = []
    seen: list[int] = []

    async def observe(_pool, vendor):
        await asked_alone.wait()
        await anyio.sleep(0.2)
        seen.append(sum(len(skus) for skus in vendor.asked))
        released.append(True)

    results, _ = await drive(
        rows(2000), vendor, account=PATIENT, meanwhile=observe, batch_rows=2000
    )
    assert set(statuses(results).values()) == {Status.UPDATED}
    assert seen[0] <= 100 + SIZE * 2 * (PATIENT.in_flight + 1)  # those put on record already


async def test_an_account_that_stops_leaves_others_of_its_quota_going():
    limiter = limiter_of(*SHOP.quotas)
    wrong = Vendor(lambda _skus, _n: 404)
    right = Vendor(lambda _skus, _n: 200)
    jobs = rows(60, batch="")
    first, stopped = await drive(jobs, wrong, account=SHOP, limiter=limiter, fail_fast_after=5)
    assert stopped.stopped
    assert len(first) < 60
    second, sender = await drive(jobs, right, account=SHOP, limiter=limiter)
    assert sender.stopped is None
    assert len(second) == 60
