"""How long a pause on record still lasts, whatever stands there."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import Pause, describe, describe_stop, describe_wait, remaining_s
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
    pause = Pause()
    for _ in range(3):
        pause.on_refusal(None, left_s=1e9, now_s=0.0)
    pause.on_refusal(600.0, 0.0, 0.0)
    pause.lift()
    assert pause.left_s(0.0) == 0.0
    pause.on_refusal(None, 0.0, 0.0)
    assert pause.left_s(0.0) == 0.1
