from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Effect
from pipeline.run.stale_row_rules import (
    NewerRow,
    StaleRowDecision,
    Writes,
    covers,
    decide_stale_row,
    overlap,
)

APPLIED, NONE, MAYBE = Effect.APPLIED, Effect.NONE, Effect.MAYBE


def pointers(text: str) -> Writes:
    return None if text == "*" else frozenset(text.split())


@pytest.mark.parametrize(
    ("newer", "older", "is_covered", "do_overlap"),
    [
        ("*", "*", True, True),
        ("*", "/a", True, True),
        ("/a", "*", False, True),
        ("/a", "/a", True, True),
        ("/a", "/a/b/c", True, True),  # what lies below
        ("/a/b", "/a", False, True),  # what stands above
        ("/a", "/ab", False, False),  # steps, not letters
        ("/a", "/b", False, False),
        ("/a /b", "/a/x /b/y", True, True),  # between them
        ("/a /b", "/a /c", False, True),
        ("/a", "", True, False),  # an update that writes nothing
        ("", "/a", False, False),
        ("/l/-", "/l/-", False, True),  # appended twice is two items
        ("/l/0", "/l/0", False, True),  # another item after a change
        ("/l/0", "/l/3", False, True),
        ("/l", "/l/0/name", True, True),  # the whole list
        ("/l/0", "/l", False, True),
        ("/l/0/name", "/l/0/name", False, True),
        ("/l/0", "/m/0", False, False),
        ("/10a", "/10a", True, True),  # a name that starts with digits
        ("/٣", "/٣", True, True),  # no digit of a JSON Pointer
    ],
)
def test_what_covers_what(newer: str, older: str, *, is_covered: bool, do_overlap: bool) -> None:
    assert covers(pointers(newer), pointers(older)) is is_covered
    assert overlap(pointers(newer), pointers(older)) is do_overlap
    assert overlap(pointers(older), pointers(newer)) is do_overlap


def test_the_pointer_to_the_whole_is_everything() -> None:
    assert covers(frozenset({""}), None)
    assert covers(frozenset({""}), frozenset({"/l/0"}))
    assert overlap(frozenset({""}), frozenset({"/a"}))


WRITES = st.none() | st.frozensets(
    st.lists(st.sampled_from(["a", "b", "-", "0"]), max_size=3).map(
        lambda steps: "".join(f"/{step}" for step in steps)
    ),
    max_size=3,
)


@given(WRITES, WRITES, WRITES)
def test_covering_is_an_order_and_what_is_covered_overlaps(a: Writes, b: Writes, c: Writes) -> None:
    assert overlap(a, b) is overlap(b, a)
    if covers(a, b) and covers(b, c):
        assert covers(a, c)
    if covers(a, b) and b != frozenset():
        assert overlap(a, b)
    if covers(a, b) and overlap(b, c):
        assert overlap(a, c)


def newer(row: int, writes: str = "*", effect: Effect = APPLIED) -> NewerRow:
    return NewerRow("tuesday", row, pointers(writes), effect)


@pytest.mark.parametrize(
    ("writes", "rows", "fate", "by"),
    [
        ("*", [], StaleRowDecision.SENT, None),
        ("*", [newer(9)], StaleRowDecision.SUPERSEDED, 9),
        ("*", [newer(9), newer(7)], StaleRowDecision.SUPERSEDED, 9),  # the newest
        ("*", [newer(9, effect=NONE)], StaleRowDecision.SENT, None),  # it changed nothing
        ("*", [newer(9, effect=MAYBE)], StaleRowDecision.OVERTAKEN, 9),
        (
            "*",
            [newer(9, effect=MAYBE), newer(7)],
            StaleRowDecision.SUPERSEDED,
            7,
        ),  # gone either way
        ("*", [newer(9, "/a"), newer(7)], StaleRowDecision.SUPERSEDED, 7),
        (
            "/a /b",
            [newer(9, "/a"), newer(8, "/b")],
            StaleRowDecision.OVERTAKEN,
            9,
        ),  # no single one covers it
        (
            "/a",
            [newer(9, "/b"), newer(8, "/c", MAYBE)],
            StaleRowDecision.SENT,
            None,
        ),  # all apart from it
        ("/a/b", [newer(9, "/c"), newer(8, "/a")], StaleRowDecision.SUPERSEDED, 8),
        ("", [newer(9)], StaleRowDecision.SENT, None),
    ],
)
def test_decision_about_a_stale_row(
    writes: str, rows: list[NewerRow], fate: StaleRowDecision, by: int | None
) -> None:
    found, other = decide_stale_row(pointers(writes), rows)
    assert (found, other and other.row) == (fate, by)


@pytest.mark.parametrize(
    ("before", "rows", "is_repeatable", "can_be_read", "fate"),
    [
        (APPLIED, [], True, True, StaleRowDecision.UNCHANGED),
        (APPLIED, [newer(9)], True, True, StaleRowDecision.SUPERSEDED),  # what was applied is gone
        (
            APPLIED,
            [newer(9, "/a")],
            True,
            True,
            StaleRowDecision.UNCHANGED,
        ),  # in its turn: all is well
        (MAYBE, [], True, False, StaleRowDecision.IN_DOUBT),
        (MAYBE, [], False, True, StaleRowDecision.IN_DOUBT),
        (MAYBE, [], False, False, StaleRowDecision.UNSETTLED),
        (MAYBE, [newer(9)], False, False, StaleRowDecision.SUPERSEDED),
        (MAYBE, [newer(9, "/a")], True, True, StaleRowDecision.OVERTAKEN),
        (NONE, [], False, False, StaleRowDecision.SENT),
    ],
)
def test_decision_about_a_row_that_was_sent_before(
    before: Effect,
    rows: list[NewerRow],
    fate: StaleRowDecision,
    *,
    is_repeatable: bool,
    can_be_read: bool,
) -> None:
    found, _ = decide_stale_row(
        None, rows, before=before, is_repeatable=is_repeatable, can_be_read=can_be_read
    )
    assert found is fate
