from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import JobRow
from pipeline.workers.batches import Batch, Row
from pipeline.workers.bisection import Bisector, GroupParts


def group(*numbers: int) -> Batch:
    return [Row(JobRow(n, "op", f"e{n}", True, "{}", "x")) for n in numbers]


def numbers(batches: tuple[Batch, ...]) -> list[list[int]]:
    return [[row.job.row for row in batch] for batch in batches]


def test_with_evidence_a_refused_group_is_split():
    bisector = Bisector()
    bisector.on_answer(group(9), sent_s=5.0, is_judged=True)
    assert numbers(bisector.on_refused(group(1, 2, 3), sent_s=5.0).now) == [[1], [2, 3]]


def test_a_request_sent_before_the_group_is_no_evidence():
    bisector = Bisector()
    bisector.on_answer(group(9), sent_s=4.9, is_judged=True)
    assert numbers(bisector.on_refused(group(1, 2, 3), sent_s=5.0).now) == [[1]]  # one asks
    assert len(bisector) == 2


def test_one_row_is_the_probe_for_all_refused_groups():
    bisector = Bisector()
    probe = bisector.on_refused(group(1, 2), sent_s=1.0).now[0]
    assert bisector.on_refused(group(3, 4), sent_s=2.0) == GroupParts()
    assert numbers(bisector.on_answer(probe, sent_s=3.0, is_judged=True).now) == [[2], [3], [4]]
    assert len(bisector) == 0


def test_if_all_probes_fail_the_groups_are_retried_whole():
    bisector = Bisector()
    parts = bisector.on_refused(group(1, 2, 3, 4, 5), sent_s=1.0)
    bisector.on_refused(group(6, 7), sent_s=2.0)
    for asked in ([1], [2]):  # either may be the bad row itself
        assert numbers(parts.now) == [asked]
        parts = bisector.on_answer(parts.now[0], sent_s=3.0, is_judged=False)
        assert parts.later == ()
    parts = bisector.on_answer(parts.now[0], sent_s=3.0, is_judged=False)
    assert (numbers(parts.now), numbers(parts.later)) == ([], [[4, 5], [6, 7]])
    assert numbers(bisector.on_refused(group(8, 9), sent_s=4.0).now) == [
        [8]
    ]  # the next one may ask


def test_if_a_probe_is_the_bad_row_the_next_one_decides():
    bisector = Bisector()
    (probe,) = bisector.on_refused(group(1, 2, 3, 4), sent_s=1.0).now
    (probe,) = bisector.on_answer(probe, sent_s=2.0, is_judged=False).now
    assert numbers(bisector.on_answer(probe, sent_s=3.0, is_judged=True).now) == [[3], [4]]


def test_the_failure_of_another_request_decides_nothing():
    bisector = Bisector()
    probe = bisector.on_refused(group(1, 2), sent_s=1.0).now[0]
    assert bisector.on_answer(group(9), sent_s=2.0, is_judged=False) == GroupParts()
    assert numbers(bisector.on_answer(probe, sent_s=3.0, is_judged=True).now) == [[2]]


def test_a_group_sent_after_the_evidence_needs_a_new_probe():
    bisector = Bisector()
    probe = bisector.on_refused(group(1, 2), sent_s=1.0).now[0]
    bisector.on_refused(group(3, 4), sent_s=9.0)
    parts = bisector.on_answer(probe, sent_s=2.0, is_judged=True)
    assert numbers(parts.now) == [[2], [3]]
    assert numbers(bisector.on_answer(parts.now[1], sent_s=10.0, is_judged=True).now) == [[4]]


def test_what_is_held_is_given_back_at_the_end():
    bisector = Bisector()
    bisector.on_refused(group(1, 2, 3), sent_s=1.0)
    assert numbers((bisector.drain(),)) == [[2, 3]]
    assert bisector.drain() == []


@settings(max_examples=200)
@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=20), max_size=6), st.integers(1, 4))
def test_a_vendor_that_works_gets_every_bad_row_alone(groups, in_flight):
    """Groups of rows, True is a bad one. None is lost, no good one is refused in the end."""
    bisector = Bisector()
    rows = [
        [Row(JobRow(100 * g + n, "op", f"{g}.{n}", True, "{}", "x")) for n in range(len(bad))]
        for g, bad in enumerate(groups)
    ]
    is_bad = {
        row.job.row: bad
        for batch, some in zip(rows, groups, strict=True)
        for row, bad in zip(batch, some, strict=True)
    }
    line, requests = deque(rows), 0
    flying: deque[tuple[Batch, float]] = deque()
    good: list[int] = []
    alone: list[int] = []
    while line or flying:
        while line and len(flying) < in_flight:
            requests += 1
            flying.append((line.popleft(), float(requests)))
        batch, sent_s = flying.popleft()
        refused = any(is_bad[row.job.row] for row in batch)
        if refused and len(batch) > 1:
            parts = bisector.on_refused(batch, sent_s)
        else:
            (alone if refused else good).extend(row.job.row for row in batch)
            parts = bisector.on_answer(batch, sent_s, is_judged=not refused)
        line.extend((*parts.now, *parts.later))
    assert len(bisector) == 0
    assert sorted(alone) == [n for n, bad in is_bad.items() if bad]
    assert sorted(good) == [n for n, bad in is_bad.items() if not bad]


@given(st.lists(st.integers(2, 20), min_size=1, max_size=8), st.integers(1, 8))
def test_in_an_outage_no_group_is_split(sizes, rounds):
    """Everything fails: whole groups go again, and one row at a time asks."""
    bisector = Bisector()
    line = deque(group(*range(100 * n, 100 * n + size)) for n, size in enumerate(sizes))
    for now, _ in enumerate(range(rounds * len(sizes))):
        if not line:
            break
        batch = line.popleft()
        if len(batch) > 1:
            parts = bisector.on_refused(batch, float(now))
            assert len(parts.now) <= 1
            assert all(len(part) == 1 for part in parts.now)
            line.extendleft(parts.now)
        else:
            parts = bisector.on_answer(batch, float(now), is_judged=False)
            assert all(len(part) == 1 for part in parts.now)
            assert len(parts.now) <= 1
            line.extendleft(parts.now)
            line.extend(parts.later)
