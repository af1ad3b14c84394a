"""While nothing but plain successes comes, many are acted on at once. That is no second set of
rules: whatever is fed with many ends as if it had been fed with one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.model import Answer, Effect, JobRow, Reply, ReplyStanding, Request, Verdict
from pipeline.model.quota import Quota
from pipeline.pacing.concurrency import Concurrency
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.workers.account_sender import AccountSender
from pipeline.workers.batches import Row
from pipeline.workers.bisection import Bisector
from pipeline.workers.concurrency_limiter import ConcurrencyLimiter
from pipeline.workers.refusals import AccountRefusals
from pipeline.workers.traffic import Traffic
from tests.scenarios import virtual_time
from tests.workers.drive import Script, drive, job, permit_now, with_retry

OK = Answer(Verdict.OK, Effect.APPLIED, 204)
THROTTLED = Answer(Verdict.THROTTLED, Effect.NONE, 429)
REPLY = Reply(204, {}, b"")

LEFTS_S = st.lists(st.floats(0.0, 9.0), min_size=1, max_size=40)


def state(of: Any) -> Any:
    """All that an object knows, its parts included, to compare two."""
    if type(of).__module__.split(".")[0] != "pipeline" or callable(of):
        return list(of) if isinstance(of, Sequence) else repr(of)
    names = {name for kind in type(of).__mro__ for name in getattr(kind, "__slots__", ())}
    names |= getattr(of, "__dict__", {}).keys()
    return {name: state(getattr(of, name)) for name in sorted(names) if name != "_clock"}


def row() -> list[Row]:
    return [Row(JobRow(1, "op", "e", True, "{}"))]


@given(earlier=st.lists(st.sampled_from([OK, THROTTLED]), max_size=60), lefts_s=LEFTS_S)
@settings(deadline=None)
def test_a_limit_learns_the_same_from_many_as_from_each(earlier, lefts_s):
    def fed(successes: Callable[[Concurrency], None]) -> Any:
        concurrency = Concurrency(64)
        for at, answer in enumerate(earlier):
            concurrency.on_sent(concurrency.limit)
            concurrency.on_answer(answer.verdict, at / 10.0, at / 10.0 + 0.05)
        successes(concurrency)
        return state(concurrency)

    def each(concurrency: Concurrency) -> None:
        for left_s in lefts_s:
            concurrency.on_answer(Verdict.OK, left_s, 10.0)

    trips_s = [(left_s, 10.0) for left_s in lefts_s]
    assert fed(lambda concurrency: concurrency.on_successes(trips_s, 10.0)) == fed(each)


@given(throttled=st.integers(0, 4), lefts_s=LEFTS_S)
@settings(deadline=None)
def test_an_account_learns_the_same_from_many_as_from_each(throttled, lefts_s):
    def fed(successes: Callable[[ConcurrencyLimiter], None]) -> Any:
        limiter = ConcurrencyLimiter(
            64, clock=lambda: 10.0, on_room=lambda: None, on_down=lambda: None
        )
        for _ in range(throttled):
            limiter.on_answer(row(), THROTTLED, 1.0)
        assert limiter.is_calm
        successes(limiter)
        return {
            name: found
            for name, found in state(limiter).items()
            if name not in {"_on_room", "_on_down", "_at_fault"}
        }

    def each(limiter: ConcurrencyLimiter) -> None:
        for left_s in lefts_s:
            limiter.on_answer(row(), OK, left_s)

    trips_s = [(left_s, 10.0) for left_s in lefts_s]
    assert fed(lambda limiter: limiter.on_successes(trips_s, 10.0)) == fed(each)


QUOTAS = [(Quota(20, 1.0),), (Quota(500, 1.0), Quota(900, 60.0)), (Quota(50, 5.0, is_burst=True),)]


@pytest.mark.parametrize("quotas", QUOTAS)
@given(many=st.lists(st.integers(1, 30), min_size=1, max_size=6), wait_s=st.floats(0.0, 2.0))
@settings(deadline=None)
def test_a_quota_counts_many_as_it_counts_each(quotas, many, wait_s):
    """Permits and replies: as many permits, the same room, and the same for the next process."""

    def fed(*, at_once: bool) -> Any:
        async def main() -> Any:
            now_s, found = 100.0, []
            limiter = RateLimiter(
                LimiterSettings(quotas=quotas), clock=lambda: now_s, utc=lambda: now_s
            )
            for most in many:
                left_s = now_s
                if at_once:
                    numbers = []
                    while taken := limiter.free(most - len(numbers)):
                        numbers += range(first := limiter.take(taken), first + taken)
                else:
                    permits = [permit_now(limiter) for _ in range(most)]
                    numbers = [number for number in permits if number is not None]
                now_s += wait_s
                if at_once and numbers:
                    limiter.on_successes(numbers, [(left_s, now_s)] * len(numbers))
                else:
                    for number in numbers:
                        limiter.on_reply(number, left_s, REPLY)
                        limiter.on_answer(OK, left_s)
                found.append((numbers, limiter.free(1)))
            # as much is known of the rate that the vendor accepts
            limiter.on_answer(THROTTLED, now_s)
            return found, limiter.take_unrecorded(), state(limiter._rate)

        return virtual_time.run(main)

    assert fed(at_once=True) == fed(at_once=False)


@given(lefts_s=LEFTS_S)
def test_what_else_counts_successes_counts_many_as_each(lefts_s):
    refusals = AccountRefusals(), AccountRefusals()
    refusals[0].on_judged(max(lefts_s))
    bisectors = Bisector(), Bisector()
    bisectors[0].on_answer([], max(lefts_s), is_judged=True)
    traffic = Traffic(lambda: 10.0), Traffic(lambda: 10.0)
    for each in traffic:
        each.on_sent(0.0, len(lefts_s))
    traffic[0].on_end(len(lefts_s))
    traffic[0].add_latencies([10.0 - left_s for left_s in lefts_s])
    for left_s in lefts_s:
        refusals[1].on_judged(left_s)
        bisectors[1].on_answer(row(), left_s, is_judged=True)
        traffic[1].on_end()
        traffic[1].add_latencies([10.0 - left_s])
    for one, other in (refusals, bisectors, traffic):
        assert state(one) == state(other)


class Held(Script):
    """Its replies may turn out to be another's, as those of a real connection."""

    async def send(self, request: Request) -> Any:
        came = await super().send(request)
        return came._replace(standing=ReplyStanding()) if isinstance(came, Reply) else came


REPLIES = st.sampled_from([[204], [204], [204], [422], [503, 204], [202, 204], [429, 204]])


@given(
    entities=st.lists(st.integers(1, 12), min_size=1, max_size=30),
    replies=st.dictionaries(st.integers(1, 12), REPLIES, max_size=4),
    is_held=st.booleans(),
)
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_rows_end_the_same_way_if_nothing_is_acted_on_together(
    monkeypatch, entities, replies, is_held
):
    jobs = [job(number, f"s{entity}") for number, entity in enumerate(entities, 1)]

    def ended() -> Any:
        async def main() -> Any:
            script = (Held if is_held else Script)({f"s{e}": each for e, each in replies.items()})
            results, sender = await drive(jobs, script, account=with_retry(max_attempts=5))
            known = {
                each.row: (each.status, each.http_status, each.attempts, each.error_code)
                for each in results
            }
            assert len(known) == len(results) == len(jobs)
            of_entity = {sku: list(filter(sku.__eq__, script.order)) for sku in script.asked}
            progress = sender.progress()
            counts = progress.sent, progress.retries, progress.done, progress.in_flight
            return known, of_entity, counts

        return virtual_time.run(main)

    together = ended()
    with monkeypatch.context() as patched:
        patched.setattr(AccountSender, "is_calm", property(lambda _sender: False))
        one_by_one = ended()
    assert together == one_by_one
