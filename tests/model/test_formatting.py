from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Status
from pipeline.model.formatting import MEANING, about, compact, duration, one_line, row_list, verdict


@pytest.mark.parametrize(
    ("seconds", "expected", "guess"),
    [
        (0.0, "under 0.1 s", "1 s"),
        (0.5, "0.5 s", "1 s"),
        (59.2, "59 s", "1 min"),  # a guess rounds up
        (60, "1 min", "1 min"),
        (61, "1 min 1 s", "2 min"),
        (3599.6, "1 h", "1 h"),  # never "60 min"
        (3600, "1 h", "1 h"),
        (8040, "2 h 14 min", "2 h 14 min"),
        (360_000, "100 h", "100 h"),
    ],
)
def test_durations(seconds: float, expected: str, guess: str) -> None:
    assert (duration(seconds), about(seconds)) == (expected, guess)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, "No rows, so nothing was sent"),
        (dict.fromkeys(Status, 0), "No rows, so nothing was sent"),
        ({Status.UPDATED: 1}, "1 of 1 row updated"),
        ({Status.UNCHANGED: 3}, "Nothing to change: all 3 rows already match"),
        ({Status.UNCHANGED: 1}, "Nothing to change: the row already matches"),
        ({Status.UPDATED: 60_000}, "All 60,000 rows updated"),
        ({Status.INVALID: 1}, "0 of 1 row updated; 1 invalid"),
        (
            {Status.NOT_ATTEMPTED: 4, Status.UPDATED: 24, Status.REJECTED: 2, Status.UNKNOWN: 0},
            "24 of 30 rows updated; 2 rejected, 4 not attempted",
        ),
    ],
)
def test_the_verdict_is_one_sentence(counts: dict[Status, int], expected: str) -> None:
    assert verdict(counts) == expected


@pytest.mark.parametrize(
    ("rows", "count", "expected"),
    [
        ([12], 1, "row 12"),
        ([12], 2, "rows 12 and 1 more"),
        ([1, 2, 3, 4, 5], 60_000, "rows 1, 2, 3, 4, 5 and 59,995 more"),
    ],
)
def test_rows_are_named(rows: list[int], count: int, expected: str) -> None:
    assert row_list(rows, count) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\n b", "a | b"),
        ("a\tb", "a b"),
        ("\x1b[2J\x1b]0;title\x07x", "]0;titlex"),  # what is left cannot act
        ("user\u202etxt.exe", "usertxt.exe"),  # text that reads backwards
        ("\x9b31m", "31m"),  # the eight-bit form of an escape
        ("[bold]ü[/bold]", "[bold]ü[/bold]"),  # words stay words
    ],
)
def test_foreign_text_is_safe_for_a_terminal(text: str, expected: str) -> None:
    assert one_line(text) == expected


@given(st.text(st.characters(exclude_categories=[])))
def test_foreign_text_is_one_printable_line(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    shown.encode()


@given(st.integers(0, 999_990_000))
def test_a_compact_count_is_short(count: int) -> None:
    assert len(compact(count)) <= 7


def test_every_status_has_its_meaning() -> None:
    assert set(MEANING) == set(Status)
