from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest

from pipeline.model import (
    JobRow,
    NoReply,
    Reply,
    ReplyStanding,
    Request,
    RowResult,
    RunAborted,
    Status,
)
from pipeline.model.quota import Quota
from pipeline.workers.backlog import Backlog
from pipeline.workers.environment import RecoveredState
from pipeline.workers.pump import UNDECIDED_PER_PLACE
from pipeline.workers.refusals import MAX_PROBES, SUSPECTED_AFTER
from tests.scenarios import virtual_time
from tests.workers.drive import ACCOUNT, REFUSED, SILENCE, Script, drive, job


def statuses(results):
    return {result.row: result.status for result in results}


async def test_every_row_is_sent_once_and_ends_updated():
    jobs = [job(row, f"s{row}") for row in range(1, 51)]
    results, sender = await drive(jobs, script := Script())
    assert statuses(results) == dict.fromkeys(range(1, 51), Status.UPDATED)
    assert Counter(script.order) == {f"s{row}": 1 for row in range(1, 51)}
    assert script.most_under_way == ACCOUNT.in_flight
    assert sender.progress().done == {Status.UPDATED: 50}


async def test_the_first_request_is_sent_alone():
    jobs = [job(row, f"s{row}") for row in range(1, 9)]
    _, _ = await drive(jobs, script := Script({"s1": [0.05]}))
    assert script.at_first_reply == 1


async def test_a_sender_without_rows_ends():
    results, sender = await drive([], Script())
    assert results == []
    assert sender.stopped is None


@pytest.mark.parametrize(
    ("replies", "status", "attempts"),
    [
        ([204], Status.UPDATED, 1),
        ([503, 204], Status.UPDATED, 2),  # a repeatable row survives a 5xx
        ([SILENCE, 204], Status.UPDATED, 2),
        ([503, 503, 503], Status.UNKNOWN, 3),  # it may have been applied
        ([429, 429, 429, 204], Status.UPDATED, 4),  # a 429 says nothing about the row
        ([422], Status.REJECTED, 1),
        ([503, 404], Status.UNKNOWN, 2),  # the refusal proves nothing about the 503
        ([SILENCE, 429, 429, 404], Status.UNKNOWN, 4),  # nor about its doubt
    ],
)
async def test_how_a_row_ends(replies, status, attempts):
    quick = [(429, {"retry-after": "0.01"}) if reply == 429 else reply for reply in replies]
    results, _ = await drive([job(1, "first"), job(2, "s")], Script({"s": quick}))
    ended = next(result for result in results if result.row == 2)
    assert (ended.status, ended.attempts) == (status, attempts)


async def test_what_may_not_be_repeated_is_not_repeated():
    jobs = [job(1, "first"), job(2, "s", repeatable=False), job(3, "t", repeatable=False)]
    script = Script({"s": [SILENCE, 204], "t": [REFUSED, 204]})
    results, _ = await drive(jobs, script)
    assert statuses(results)[2] is Status.UNKNOWN
    assert len(script.asked["s"]) == 1
    assert statuses(results)[3] is Status.UPDATED  # it never left, so it may go again


async def test_a_waiting_row_holds_neither_a_worker_nor_a_slot():
    """Four workers, twenty rows that wait half a second for their retry: the others overtake."""
    account = replace(ACCOUNT, retry=replace(ACCOUNT.retry, base_s=1.0, cap_s=1.0))
    bad = {f"bad{i}": [503, 204] for i in range(20)}
    jobs = [job(1, "first")]
    for i in range(20):  # by turns: many that fail one after the other would be an outage
        jobs += [job(3 * i + 2, f"bad{i}"), *(job(3 * i + n, f"good{i}.{n}") for n in (3, 4))]
    results, _ = await drive(jobs, script := Script(bad), account=account)
    assert set(statuses(results).values()) == {Status.UPDATED}
    last_good = max(times[-1] for sku, times in script.asked.items() if sku.startswith("good"))
    first_retry = min(times[1] for sku, times in script.asked.items() if sku.startswith("bad"))
    assert last_good < first_retry


async def test_a_retry_after_holds_everyone_and_is_not_shortened():
    jobs = [job(1, "first"), job(2, "s")] + [job(i, f"o{i}") for i in range(3, 30)]
    script = Script({"s": [(429, {"retry-after": "0.3"}), 204]})
    _, _ = await drive(jobs, script)
    told = script.asked["s"][0] + 0.001
    late = [times[-1] for times in script.asked.values() if times[-1] > told + 0.05]
    assert late
    assert min(late) >= told + 0.3


async def test_a_refusal_is_about_its_row_where_others_are_accepted():
    jobs = [job(row, f"s{row}") for row in range(1, 200)]
    results, sender = await drive(jobs, script := Script({"s1": [401], "s5": [401], "s199": [401]}))
    assert sender.stopped is None
    refused = {row for row, status in statuses(results).items() if status is Status.REJECTED}
    assert refused == {1, 5, 199}
    assert len(results) == len(script.order) == 199


async def test_if_many_refused_rows_come_first_rows_further_on_are_probed():
    """Far beyond the rows that are read ahead otherwise."""
    account = replace(ACCOUNT, in_flight=64)
    jobs = [job(row, f"s{row}") for row in range(1, 10_001)]
    refused = {f"s{row}": [403] for row in range(1, 7_001)}
    results, sender = await drive(jobs, Script(refused), account=account, batch_rows=1_000)
    assert sender.stopped is None
    ended = Counter(statuses(results).values())
    assert ended == {Status.REJECTED: 7_000, Status.UPDATED: 3_000}


async def test_credentials_that_are_refused_cost_four_requests_and_end_no_row():
    jobs = [job(row, f"s{row}") for row in range(1, 200)]
    results, sender = await drive(
        jobs, script := Script({f"s{row}": [401] for row in range(1, 200)})
    )
    assert sender.stopped is not None
    assert "401" in sender.stopped
    assert len(set(script.order)) == len(script.order) == 4
    assert script.most_under_way == 1
    assert set(statuses(results).values()) == {Status.NOT_ATTEMPTED}


async def test_credentials_that_are_revoked_cost_what_was_under_way_and_three_more():
    class Revoked(Script):
        async def send(self, request):
            if len(self.order) >= 50:
                self.replies[request.path[1:]] = [401]
            return await super().send(request)

    jobs = [job(row, f"s{row}") for row in range(1, 200)]
    results, sender = await drive(jobs, script := Revoked())
    assert sender.stopped is not None
    assert len(script.order) <= 50 + SUSPECTED_AFTER + ACCOUNT.in_flight + MAX_PROBES
    ended = Counter(statuses(results).values())
    assert ended == {Status.UPDATED: 50, Status.NOT_ATTEMPTED: len(script.order) - 50}


async def test_equal_refusals_at_the_start_stop_the_account():
    jobs = [job(row, f"s{row}") for row in range(1, 200)]
    wrong = {f"s{row}": [404] for row in range(1, 200)}
    results, sender = await drive(jobs, script := Script(wrong))
    assert sender.stopped is not None
    assert "--no-fail-fast" in sender.stopped
    assert 20 <= len(script.order) < 30
    assert set(statuses(results).values()) == {Status.REJECTED}
    results, sender = await drive(jobs, Script(wrong), fail_fast_after=0)
    assert sender.stopped is None
    assert len(results) == 199


@pytest.mark.parametrize(("first", "opens"), [(404, []), (204, ["opens"])])
async def test_an_account_that_only_refuses_is_never_told_to_work(first, opens):
    """Other shares of it would begin."""
    jobs, told = [job(row, f"s{row}") for row in range(1, 200)], []
    script = Script({"s1": [first], **{f"s{row}": [404] for row in range(2, 200)}})
    await drive(jobs, script, on_open=lambda: told.append("opens"))
    assert told == opens


async def test_a_pause_longer_than_max_wait_stops_the_account():
    jobs = [job(row, f"s{row}") for row in range(1, 50)]
    script = Script({"s3": [(429, {"retry-after": "901"})]})
    results, sender = await drive(jobs, script)
    assert sender.stopped is not None
    assert "901 s" in sender.stopped
    third = next(result for result in results if result.row == 3)
    assert third.status is Status.NOT_ATTEMPTED  # it waited for an attempt that never came
    assert "no further attempt" in third.error


@pytest.mark.parametrize("reply", [REFUSED, SILENCE])
async def test_a_dead_server_costs_as_many_requests_as_a_row_has_attempts(reply):
    claims, released = [], []
    kept = {"claims": claims, "released": released}
    jobs = [job(row, f"s{row}") for row in range(1, 50)]
    script = Script({f"s{i}": [reply] for i in range(50)})
    results, sender = await drive(jobs, script, **kept)
    assert sender.stopped is not None
    assert "no reply came to the first requests" in sender.stopped
    assert len(script.order) == 3
    assert len(set(script.order)) == 2  # the second one was asked before
    assert results == []
    assert set(claims) - set(released) == (
        {int(sku[1:]) for sku in script.order} if reply is SILENCE else set()
    )


async def test_a_first_row_that_gets_no_reply_holds_up_no_other():
    jobs = [job(row, f"s{row}") for row in range(1, 50)]
    results, sender = await drive(jobs, Script({"s1": [SILENCE]}))
    assert sender.stopped is None
    assert statuses(results) == dict.fromkeys(range(2, 50), Status.UPDATED) | {1: Status.UNKNOWN}


async def test_a_row_without_a_connection_is_retried_while_others_have_one():
    """Three attempts of it met no connection: that says nothing about the row."""
    jobs = [job(row, f"s{row}") for row in range(1, 500)]
    results, sender = await drive(jobs, script := Script({"s7": [REFUSED] * 5 + [204]}))
    assert sender.stopped is None
    assert statuses(results) == dict.fromkeys(range(1, 500), Status.UPDATED)
    assert len(script.asked["s7"]) == 6


async def test_if_no_remaining_row_gets_a_connection_the_account_stops():
    account = replace(ACCOUNT, max_outage_s=0.3)
    jobs = [job(1, "a"), job(2, "b")]
    results, sender = await drive(jobs, Script({"b": [REFUSED]}), account=account)
    assert sender.stopped is not None
    assert "longer than max_outage_s" in sender.stopped
    assert statuses(results) == {1: Status.UPDATED}


async def test_stop_finishes_what_is_in_flight():
    async def stop_soon(pool, script):
        while len(script.order) < 5:
            await anyio.sleep(0.001)
        pool.stop("interrupted")

    jobs = [job(row, f"s{row}") for row in range(1, 50)]
    slow = {f"s{row}": [0.1] for row in range(2, 50)}
    results, sender = await drive(jobs, script := Script(slow), meanwhile=stop_soon)
    assert sender.stopped == "interrupted"
    assert set(statuses(results).values()) == {Status.UPDATED}
    assert len(results) == len(script.order) < 10


async def test_after_the_grace_what_is_still_in_flight_stays_in_doubt_on_record():
    async def stop_soon(pool, script):
        while len(script.order) < 5:
            await anyio.sleep(0.001)
        pool.stop("interrupted")

    jobs = [job(row, f"s{row}") for row in range(1, 50)]
    slow = {f"s{row}": [60.0] for row in range(2, 50)}
    claims, released = [], []
    kept = {"claims": claims, "released": released}
    results, _ = await drive(jobs, Script(slow), meanwhile=stop_soon, grace_s=0.05, **kept)
    assert statuses(results) == {1: Status.UPDATED}
    assert sorted(set(claims) - set(released)) == [1, 2, 3, 4, 5]


async def test_a_second_stop_does_not_wait_for_the_grace():
    async def stop_twice(pool, script):
        while len(script.order) < 5:
            await anyio.sleep(0.001)
        pool.stop("interrupted")
        pool.stop("interrupted again")

    jobs = [job(row, f"s{row}") for row in range(1, 50)]
    slow = {f"s{row}": [60.0] for row in range(2, 50)}
    claims, released = [], []
    kept = {"claims": claims, "released": released}
    with anyio.fail_after(5):
        results, _ = await drive(jobs, Script(slow), meanwhile=stop_twice, grace_s=600.0, **kept)
    assert statuses(results) == {1: Status.UPDATED}
    assert sorted(set(claims) - set(released)) == [1, 2, 3, 4, 5]


async def test_an_interrupted_row_that_nothing_can_resolve_ends_unknown():
    async def stop_twice(pool, script):
        while not script.order:
            await anyio.sleep(0.001)
        pool.stop("interrupted")
        pool.stop("interrupted again")

    script = Script({"s": [60.0]})
    results, _ = await drive([job(1, "s", repeatable=False)], script, meanwhile=stop_twice)
    assert statuses(results) == {1: Status.UNKNOWN}


async def test_results_that_cannot_be_written_end_the_run():
    def refuse(_batch):
        raise RunAborted("disk full")

    jobs = [job(row, f"s{row}") for row in range(1, 50)]
    with pytest.raises(ExceptionGroup) as caught:
        await drive(jobs, Script(), write=refuse)
    assert caught.group_contains(RunAborted, match="disk full")


async def test_the_next_row_of_an_entity_waits_for_the_record_not_for_the_reply():
    recorded: list[int] = []
    script = Script()
    asked_when_recorded: list[int] = []

    def write(batch):
        asked_when_recorded.append(len(script.asked["a"]))
        recorded.extend(result.row for result in batch)

    jobs = [job(1, "first"), job(2, "a"), job(3, "a"), job(4, "a")]
    await drive(jobs, script, write=write)
    assert recorded == [1, 2, 3, 4]
    assert asked_when_recorded[-3:] == [1, 2, 3]  # never one ahead of the record


async def test_a_row_in_doubt_that_waits_for_a_permit_is_not_lost_if_the_run_is_interrupted():
    """Its retry was already given out: it stays claimed, while the row that met the bug ends."""

    class Broken(Script):
        async def send(self, request):
            if request.path == "/bad":
                await anyio.sleep(0.15)
                raise RuntimeError("a bug elsewhere")
            return await super().send(request)

    account = replace(
        ACCOUNT, quotas=(Quota(4, 4.0),), retry=replace(ACCOUNT.retry, max_attempts=9)
    )
    script = Broken({"doubt": [503]})
    results, claims, released = [], [], []
    with pytest.raises(ExceptionGroup):
        await drive(
            [job(1, "first"), job(2, "doubt"), job(3, "bad")],
            script,
            account=account,
            write=results.extend,
            claims=claims,
            released=released,
        )
    assert statuses(results) == {1: Status.UPDATED, 3: Status.UNKNOWN}
    assert (sorted(claims), released) == ([1, 2, 3], [])


def test_rows_that_are_due_together_are_sent_together():
    """Every worker is called, not one after the other."""
    account = replace(ACCOUNT, in_flight=32, retry=replace(ACCOUNT.retry, base_s=0.4, cap_s=0.4))
    jobs = [job(1, "first")] + [job(2 + i, f"s{i}") for i in range(64)]
    script = Script({f"s{i}": [503, 204] for i in range(0, 64, 2)})
    virtual_time.run(lambda: drive(jobs, script, account=account))
    retries = sorted(times[1] for times in script.asked.values() if len(times) > 1)
    assert len(retries) == 32
    assert retries[-1] - retries[0] < 0.1


@pytest.mark.parametrize(
    ("repeatable", "in_one_go"),
    [
        pytest.param(True, False, id="rows that may be sent twice are claimed ahead"),
        pytest.param(False, True, id="each of the others may end unknown after a kill"),
    ],
)
def test_no_more_rows_that_may_not_be_repeated_are_claimed_than_are_in_flight(
    repeatable, in_one_go
):
    account = replace(ACCOUNT, quotas=(Quota(500, 1.0),))
    claimed: set[int] = set()
    most: list[int] = []

    def record(new: Sequence[int], results: Sequence[RowResult], *_more: object) -> None:
        claimed.update(new)
        most.append(len(claimed))
        claimed.difference_update(result.row for result in results)

    jobs = [job(row, f"s{row}", repeatable=repeatable) for row in range(1, 601)]
    virtual_time.run(lambda: drive(jobs, Script(), account=account, record_with=record))
    assert (max(most) <= 2 * account.in_flight) is in_one_go


async def test_long_rows_are_read_ahead_by_their_size():
    backlog = Backlog()
    backlog.rows.add([JobRow(row, "op", str(row), True, "x" * 1_000_000) for row in range(8)])
    assert not backlog.needs_more  # eight rows, and eight megabytes


async def test_of_rows_that_replace_the_whole_the_last_is_sent_where_that_is_wished():
    jobs = [job(1, "first"), *(job(row, "a") for row in range(2, 6)), job(6, "b")]
    results, sender = await drive(jobs, script := Script(), coalesce=True, batch_rows=6)
    assert Counter(script.order) == {"first": 1, "a": 1, "b": 1}
    assert statuses(results) == {
        **dict.fromkeys((1, 5, 6), Status.UPDATED),
        **dict.fromkeys((2, 3, 4), Status.SUPERSEDED),
    }
    assert "row 5" in next(result.error for result in results if result.row == 2)
    assert sender.progress().done[Status.SUPERSEDED] == 3


@pytest.mark.parametrize(
    ("reply", "ends", "sent"),
    [
        (422, {4: Status.REJECTED, 3: Status.REJECTED, 2: Status.REJECTED}, 3),  # each in its turn
        (
            SILENCE,
            {4: Status.UNKNOWN, 3: Status.FAILED, 2: Status.FAILED},
            3,
        ),  # three attempts of one
    ],
)
async def test_what_becomes_of_covered_rows_where_the_last_one_fails(reply, ends, sent):
    jobs = [job(1, "first"), *(job(row, "a") for row in range(2, 5))]
    results, _ = await drive(jobs, script := Script({"a": [reply]}), coalesce=True, batch_rows=4)
    assert statuses(results) == {1: Status.UPDATED, **ends}
    assert len(script.asked["a"]) == sent


async def test_covered_rows_are_on_record_in_one_commit_with_the_row_that_covers_them():
    commits: list[set[int]] = []
    jobs = [job(1, "first"), *(job(row, "a") for row in range(2, 6))]
    await drive(
        jobs,
        Script(),
        coalesce=True,
        batch_rows=5,
        write=lambda results: commits.append({result.row for result in results}),
    )
    assert {2, 3, 4, 5} in [commit - {1} for commit in commits]


async def test_a_resumed_run_sends_no_row_before_one_that_may_have_covered_it():
    jobs = [job(1, "first"), *(job(row, "a") for row in range(2, 5))]
    earlier = RecoveredState(in_doubt=frozenset({4}), overtaking={"a": 4})
    results, _ = await drive(jobs, script := Script(), coalesce=True, recovered=earlier)
    assert len(script.asked["a"]) == 1
    assert statuses(results) == {
        1: Status.UPDATED,
        **dict.fromkeys((2, 3), Status.SUPERSEDED),
        4: Status.UPDATED,
    }


@pytest.mark.parametrize(
    ("quotas", "quota_per_s", "rate_per_s"),
    [
        ((Quota(600, 60.0),), 10.0, 10.0),
        ((Quota(600, 60.0, is_burst=True),), 10.0, 0.0),  # nothing spreads it
        ((), 0.0, 1.2),  # learned: it grew from 1.0 with the first one
    ],
)
async def test_progress_shows_the_rate_of_an_account(quotas, quota_per_s, rate_per_s):
    account = replace(ACCOUNT, quotas=quotas)
    _, sender = await drive([job(1, "a")], Script(), account=account)
    progress = sender.progress()
    assert (progress.quota_per_s, progress.rate_per_s) == (quota_per_s, rate_per_s)
    assert not progress.is_held_up


async def test_if_results_may_stop_the_account_few_rows_are_undecided():
    """Each reply is held for a while: without a bound all would be sent before the first counts."""
    asked, ended, most = 0, 0, 0

    class Quick(Script):
        async def send(self, _request: Request) -> Reply | NoReply:
            nonlocal asked, most
            asked += 1
            most = max(most, asked - ended)
            return Reply(204, {}, b"", standing=ReplyStanding())

    def on_end(_status: Status) -> None:
        nonlocal ended
        ended += 1

    jobs = [job(n, f"s{n}") for n in range(1, 201)]
    results, _ = await drive(jobs, Quick(), is_gated=True, on_end=on_end, batch_rows=200)
    assert len(results) == 200
    assert most <= UNDECIDED_PER_PLACE * ACCOUNT.in_flight
    asked = ended = most = 0
    await drive(jobs, Quick(), on_end=on_end, batch_rows=200)
    assert most > 4 * ACCOUNT.in_flight  # else this test shows nothing
