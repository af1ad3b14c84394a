"""When far more rows fail than in the runs before."""

from __future__ import annotations

import pytest

from pipeline.run.anomaly import FailureRate, describe_anomaly

CLEAN = FailureRate(0, 1000)
USUAL = FailureRate(20, 1000)
TERRIBLE = FailureRate(1000, 1000)


@pytest.mark.parametrize(
    ("now", "earlier", "is_reported"),
    [
        (FailureRate(300, 1000), [USUAL] * 6, True),  # fifteen times as many
        (FailureRate(300, 1000), [USUAL] * 4, False),  # too few runs are no habit
        (FailureRate(300, 1000), [], False),  # the first run of all
        (USUAL, [USUAL] * 20, False),  # as ever
        (FailureRate(35, 1000), [USUAL] * 20, False),  # chance: 20 + 3 * 4.5 + 5 are borne
        (FailureRate(39, 1000), [USUAL] * 20, True),  # beyond it
        (FailureRate(5, 60_000), [FailureRate(0, 60_000)] * 9, False),  # a handful is no trend
        (
            FailureRate(6, 60_000),
            [FailureRate(0, 60_000)] * 9,
            True,
        ),  # more than that never failed before
        (FailureRate(300, 1000), [CLEAN] * 5 + [TERRIBLE], True),  # one bad night hides nothing
        (FailureRate(300, 1000), [CLEAN] * 5 + [TERRIBLE] * 2, False),  # two are a habit, alas
        (FailureRate(0, 1000), [USUAL] * 9, False),  # better than usual needs no word
        (FailureRate(0, 0), [USUAL] * 9, False),  # nothing was tried
        (FailureRate(300, 1000), [FailureRate(0, 0)] * 9, False),  # nor in the runs before
    ],
)
def test_anomaly(now: FailureRate, earlier: list[FailureRate], is_reported: bool) -> None:  # noqa: FBT001
    assert bool(describe_anomaly(now, earlier)) is is_reported
