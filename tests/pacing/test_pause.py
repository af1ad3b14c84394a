"""How long a pause on record still lasts, whatever stands there."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import describe, describe_stop, describe_wait, remaining_s
from pipeline.pacing.quota_pause import QuotaPause
from pipeline.vendors.kit.numbers import LONGEST_S

NOW_S = 1_790_000_000.0

REMAINING = [
    (AskedPause(NOW_S + 60, NOW_S), 60.0, "it began now"),
    (AskedPause(NOW_S + 10, NOW_S - 50), 10.0, "a part of it is over"),
    (AskedPause(NOW_S - 10, NOW_S - 70), 0.0, "it is over"),
    (AskedPause(NOW_S + 5000, NOW_S + 4940), 60.0, "our clock was set back since"),
    (AskedPause(NOW_S + 60), 60.0, "an older version wrote no more than that"),
    (AskedPause(253_402_300_799.0), LONGEST_S, "the year 9999, by an older version"),
    (AskedPause(math.inf), LONGEST_S, "no time at all"),
    (AskedPause(math.nan), LONGEST_S, "no number"),
    (AskedPause(-math.inf), 0.0, "over since ever"),
]


@pytest.mark.parametrize(
    ("asked", "left_s"),
    [each[:2] for each in REMAINING],
    ids=[each[2] for each in REMAINING],
)
def test_remaining_seconds(asked, left_s):
    assert remaining_s(asked, NOW_S) == left_s


@given(st.floats(), st.floats(), st.floats(0, 1e11), st.text())
def test_any_recorded_pause_is_finite_and_can_be_described(until_s, asked_s, now_s, words):
    asked = AskedPause(until_s, asked_s, "a-run", words)
    assert 0 <= remaining_s(asked, now_s) <= LONGEST_S
    assert describe(asked, now_s).startswith("until ")
    for said in (describe_wait(asked, now_s, "shop"), describe_stop(asked, now_s, "shop", 900.0)):
        assert "pipeline runs --lift-pause shop" in said


def test_a_lifted_pause_is_over_and_the_next_is_as_short_as_the_first():
    told: list[str] = []
    pause = QuotaPause(
        900.0,
        clock=lambda: 0.0,
        utc=lambda: NOW_S,
        on_longer=lambda: told.append("longer"),
        on_lift=lambda: told.append("lifted"),
    )
    asked = [pause.start(None, 1e9, "") for _ in range(3)]
    assert (asked, pause.left_s) == ([True] * 3, 0.4)
    assert [pause.start(seconds, 0.0, "") for seconds in (600.0, 7.0, None)] == [True, False, False]
    pause.lift()
    assert pause.left_s == 0.0
    assert pause.start(None, 0.0, "")
    assert pause.left_s == 0.1
    assert told == ["longer"] * 4 + ["lifted", "longer"]
