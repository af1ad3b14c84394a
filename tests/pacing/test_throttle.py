"""When a 429 uses up an attempt of its row, each with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pacing.throttle import NO_REFUSALS, Refusals, Throttle

CASES = [
    ("a", "-", "the first says nothing"),
    ("a a a a a", "- - - - -", "nothing else was sent: the account may be throttled"),
    ("+ + + a", "-", "the first says nothing, whatever was accepted before"),
    ("+ a a a", "- - -", "nothing was accepted since: a quota may be used up at the end of a file"),
    ("a + a", "- !", "another was accepted between two refusals of this one"),
    ("a + a a a a", "- ! ! ! !", "and then nothing else is left: it is the row"),
    ("a b a b a b", "- - - - - -", "the account as a whole is throttled"),
    ("a b + a b + a", "- - - - -", "as often refused as accepted: it still is"),
    ("a b + + + + a", "- - !", "others are accepted four times as often as refused"),
    ("a + a b a b a", "- ! - - - -", "suspected, then the whole account is throttled"),
    (
        "a b + + + + + + a b a b a b",
        "- - ! ! ! ! ! !",
        "two suspects do not excuse each other",
    ),
]


@pytest.mark.parametrize(
    ("met", "counted"), [each[:2] for each in CASES], ids=[each[2] for each in CASES]
)
def test_which_refusals_count(met, counted):
    throttle = Throttle()
    rows: dict[str, Refusals] = {}
    found = []
    for each in met.split():
        if each == "+":
            throttle.accepted()
        else:
            rows[each] = throttle.refused(rows.get(each, NO_REFUSALS), 1.0)
            found.append("!" if rows[each].is_counted else "-")
    assert " ".join(found) == counted


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_while_nothing_is_accepted_nothing_counts(refused):
    throttle = Throttle()
    rows: dict[str, Refusals] = {}
    for at_s, each in enumerate(refused, 1):
        rows[each] = throttle.refused(rows.get(each, NO_REFUSALS), float(at_s))
        assert not rows[each].is_counted
    assert throttle.since_s == 1.0
    throttle.accepted()
    assert throttle.since_s is None


@given(st.integers(1, 8), st.integers(10, 50))
def test_rows_that_are_refused_for_ever_use_up_their_attempts_while_others_go(bad, others):
    """However many they are, as long as more of the others go between their attempts."""
    throttle = Throttle()
    rows = [NO_REFUSALS] * bad
    counted = [0] * bad
    for _ in range(12):
        for _ in range(bad * others):
            throttle.accepted()
        for number in range(bad):
            rows[number] = throttle.refused(rows[number], 1.0)
            counted[number] += rows[number].is_counted
    assert min(counted) >= 5
