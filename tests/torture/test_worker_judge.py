"""The judge of runs of several workers notices what it is there for."""

from __future__ import annotations

import pytest

from tests.torture.worker_judge import Arrival, Recorded, verdict

GOOD = [Arrival(at_s, row) for row, at_s in ((1, 1.0), (2, 1.1), (3, 1.2), (4, 1.3))]
RESULTS = {row: Recorded("updated", row / 10 + 1.0) for row in (1, 2, 3, 4)}
ENTITIES = {1: "a", 2: "b", 3: "a", 4: "b"}


@pytest.mark.parametrize(
    ("arrivals", "results", "most_twice", "broken"),
    [
        pytest.param(GOOD, RESULTS, 0, [], id="each row once"),
        pytest.param(GOOD, {1: Recorded("updated", 1.1)}, 0, ["3 rows lost"], id="no results"),
        pytest.param(
            GOOD,
            RESULTS | {4: Recorded("not_attempted", 1.4)},
            0,
            ["1 rows lost"],
            id="a row that nobody sent is no end of it",
        ),
        pytest.param(
            [*GOOD, Arrival(1.41, 4)], RESULTS, 1, [], id="in doubt, sent again as it is recorded"
        ),
        pytest.param(
            [*GOOD, Arrival(1.41, 4)], RESULTS, 0, ["1 rows sent twice"], id="more than in flight"
        ),
        pytest.param(
            [*GOOD, Arrival(1.41, 4)],
            RESULTS | {4: Recorded("updated", 1.42, attempts=2)},
            0,
            [],
            id="tried again after no answer",
        ),
        pytest.param(
            [*GOOD, Arrival(2.0, 4)],
            RESULTS,
            1,
            ["1 rows sent again that were on record"],
            id="acknowledged, and sent again",
        ),
        pytest.param(
            [*GOOD, Arrival(1.11, 1)],
            RESULTS,
            1,
            ["1 requests out of order"],
            id="after the later row of its entity",
        ),
        pytest.param(
            [GOOD[0], Arrival(1.05, 2, is_refused=True, is_applied=False), *GOOD[1:]],
            RESULTS,
            0,
            ["1 requests refused"],
            id="above the quota, and not counted as sent twice",
        ),
    ],
)
def test_a_broken_promise_is_named(arrivals, results, most_twice, broken):
    found = verdict(4, arrivals, results, ENTITIES, rate=5)
    assert found.broken(most_twice=most_twice) == broken


def test_the_use_of_a_quota_is_measured_while_all_shares_have_rows():
    late = [*GOOD, Arrival(11.0, 5)]
    assert verdict(5, late, RESULTS, ENTITIES, rate=4).used == pytest.approx(0.125)
    assert verdict(5, late, RESULTS, ENTITIES, rate=4, within_s=1.0).used == pytest.approx(1.0)
