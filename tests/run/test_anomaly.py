"""When far more rows fail than in the runs before."""

from __future__ import annotations

import pytest

from pipeline.run.anomaly import Share, describe_anomaly

CLEAN = Share(0, 1000)
USUAL = Share(20, 1000)
TERRIBLE = Share(1000, 1000)


@pytest.mark.parametrize(
    ("now", "earlier", "is_reported"),
    [
        (Share(300, 1000), [USUAL] * 6, True),  # fifteen times as many
        (Share(300, 1000), [USUAL] * 4, False),  # too few runs are no habit
        (Share(300, 1000), [], False),  # the first run of all
        (USUAL, [USUAL] * 20, False),  # as ever
        (Share(35, 1000), [USUAL] * 20, False),  # chance: 20 + 3 * 4.5 + 5 are borne
        (Share(39, 1000), [USUAL] * 20, True),  # beyond it
        (Share(5, 60_000), [Share(0, 60_000)] * 9, False),  # a handful is no trend
        (Share(6, 60_000), [Share(0, 60_000)] * 9, True),  # more than that never failed before
        (Share(300, 1000), [CLEAN] * 5 + [TERRIBLE], True),  # one bad night hides nothing
        (Share(300, 1000), [CLEAN] * 5 + [TERRIBLE] * 2, False),  # two are a habit, alas
        (Share(0, 1000), [USUAL] * 9, False),  # better than usual needs no word
        (Share(0, 0), [USUAL] * 9, False),  # nothing was tried
        (Share(300, 1000), [Share(0, 0)] * 9, False),  # nor in the runs before
    ],
)
def test_anomaly(now: Share, earlier: list[Share], is_reported: bool) -> None:  # noqa: FBT001
    assert bool(describe_anomaly(now, earlier)) is is_reported
