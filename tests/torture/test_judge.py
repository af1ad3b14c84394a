"""The judge of the kill loop finds each broken promise; otherwise the loop would prove nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.torture.judge import (
    ATTEMPTS,
    MAX_OUTAGE_S,
    Case,
    Kill,
    not_restored,
    sent_again,
    violations,
)
from tests.torture.rows import Row

ROWS = (
    Row(1, "a", "row 1"),
    Row(2, "a", "row 2"),
    Row(3, "b", "row 3", is_repeatable=False),
    Row(4, "c", "row 4", is_repeatable=False, adds=True),
    Row(5, "d", "same A"),
    Row(6, "d", "same B"),
    Row(7, "d", "same A"),
)


def put(seq: int, row: int, *, applied: bool = True, status: int | None = 200) -> dict[str, Any]:
    mark = ROWS[row - 1].mark
    return {
        "seq": seq,
        "connection": seq,
        "arrived_s": seq / 1000,
        "method": "PUT",
        "id": ROWS[row - 1].entity,
        "operation": "xsolla.coupon",
        "body": f'{{"name": "{mark}"}}',
        "applied": applied,
        "status": status,
        "fault": None if applied else "503",
    }


def get(seq: int, entity: str) -> dict[str, Any]:
    return {**put(seq, 1), "method": "GET", "id": entity, "body": "", "applied": False}


UPDATED = dict.fromkeys(range(1, 8), "updated")
HELD = {"a": {"row 2"}, "b": {"row 3"}, "c": {"row 4"}, "d": {"same A"}}
LOG = [*(put(10 * row, row) for row in range(1, 8))]
KILL = Kill(point="sent", mark=25, claimed=frozenset({2, 5}), statuses={1: "updated"})
GOOD = Case(rows=ROWS, log=LOG, kills=[KILL], reported=list(UPDATED.items()), held=HELD)


def with_log(*more: dict[str, Any], without: int = 0) -> Case:
    kept = [entry for entry in LOG if entry["seq"] != without]
    return replace(GOOD, log=sorted([*kept, *more], key=lambda entry: entry["seq"]))


def with_kill(**changes: Any) -> Case:
    return replace(GOOD, kills=[replace(KILL, **changes)])


def with_status(row: int, status: str, case: Case = GOOD) -> Case:
    return replace(case, reported=list({**dict(case.reported), row: status}.items()))


def unapplied(seq: int, row: int, status: int | None = 503) -> dict[str, Any]:
    return put(seq, row, applied=False, status=status)


def doubted(row: int, *, tried: bool = True) -> Case:
    """A kill left the row in doubt, and then, if `tried`, each request for it went wrong."""
    troubles = [unapplied(26 + n, row) for n in range(ATTEMPTS if tried else 1)]
    case = with_log(*troubles, without=0 if row == 2 else 10 * row)
    kill = replace(KILL, claimed=KILL.claimed | {row})
    return with_status(row, "unknown", replace(case, kills=[kill]))


def outlasted(works: int = 0) -> Case:
    """The second of two tries for row 2 ends an outage, in which request `works` was answered."""
    case = doubted(2, tried=False)
    failing = [
        {**unapplied(100 + n, row), "arrived_s": 1.0 + n * MAX_OUTAGE_S / 3}
        for n, row in enumerate([7, 7, 7, 7, 2])
    ]
    came = [
        {**each, "fault": None, "status": 200} if each["seq"] == works else each for each in failing
    ]
    return replace(case, log=[*case.log, *came])


REFUSED = with_log(unapplied(28, 3, 429))
READ = with_log(unapplied(22, 3, 503), get(27, "b"))


@pytest.mark.parametrize(
    "case",
    [
        GOOD,
        with_log(put(26, 2)),  # in doubt, and harmless to repeat
        REFUSED,
        replace(READ, kills=[replace(KILL, claimed=frozenset({2, 3}))]),
        # a 429 while another process died: both requests came on one connection
        replace(
            with_log(
                {**unapplied(24, 3, 429), "connection": 1},
                {**put(30, 3), "connection": 1},
                without=30,
            ),
            kills=[replace(KILL, claimed=frozenset({2, 3}))],
        ),
        doubted(2),  # it may or may not be what the vendor holds
        replace(doubted(2), held={**HELD, "a": {"row 1"}}),
        outlasted(),
        replace(doubted(4, tried=False), held={**HELD, "c": set()}),  # nothing can tell
        with_kill(statuses={1: "updated", 3: "not_attempted"}),  # gives way
    ],
)
def test_what_is_right_is_let_pass(case):
    assert list(violations(case)) == []


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (replace(GOOD, reported=list(UPDATED.items())[1:]), "the report has 6 lines for 7 rows"),
        (replace(GOOD, reported=[*UPDATED.items(), (1, "updated")]), "8 lines for 7 rows"),
        (with_status(1, "unknown"), "row 1 was updated on record (sent) and is reported unknown"),
        (with_log(put(26, 1)), "rows (1,) were on record (sent) and sent: 26"),
        (with_log(unapplied(26, 1)), "rows (1,) were on record (sent) and sent: 26"),
        (with_kill(claimed=frozenset()), "rows (2,) were sent (20) and not on record (sent)"),
        (with_kill(claimed=frozenset({1, 2}), statuses={}), "rows 1 and 2 of one entity"),
        (with_log(put(35, 3)), "row 3 may not be repeated and was sent: 30, 35"),
        # after a 503 without a read, a read before it, and a 429 that died with the process
        (with_log(unapplied(28, 3)), "row 3 may not be repeated and was sent: 28, 30"),
        (with_log(get(27, "b"), unapplied(28, 3)), "row 3 may not be repeated"),
        (
            replace(
                with_log(unapplied(24, 3, 429)), kills=[replace(KILL, claimed=frozenset({2, 3}))]
            ),
            "row 3 may not be repeated and was sent: 24, 30",
        ),
        (with_log(put(22, 1)), "rows (1,) took effect after row 2: 22"),
        (with_log(put(75, 6)), "rows (6,) took effect after row 7: 75"),
        (with_status(3, "failed"), "row 3 is reported failed and was applied"),
        (with_status(3, "not_attempted"), "row 3 is reported not_attempted and was applied"),
        (with_log(without=30), "row 3 is reported updated and was not applied"),
        (replace(GOOD, held={**HELD, "a": {"row 1"}}), "a holds ['row 1']"),
        (replace(GOOD, held={**HELD, "c": set()}), "c holds []"),
        (replace(GOOD, held={**HELD, "b": set()}), "b holds []"),
        (with_status(3, "unknown"), "row 3 is reported unknown and was never in doubt"),
        (doubted(2, tried=False), "row 2 is reported unknown and could have been resolved"),
        (outlasted(works=102), "row 2 is reported unknown and could have been resolved"),
        (with_log({**put(45, 1), "body": '{"name": "row 9"}'}), "a was sent what no row says: 45"),
    ],
)
def test_each_broken_promise_is_found(case, words):
    assert any(words in each for each in violations(case)), list(violations(case))


def test_rows_that_were_in_doubt_and_sent_again_are_counted():
    assert sent_again(GOOD) == 1  # row 5; row 2 went out before the kill only


PREVIOUS = {1: [], 2: ["row 1"], 3: [], 4: [], 5: [], 6: ["same A"], 7: ["same B"]}
RECORDED = replace(GOOD, previous=PREVIOUS, kills=[replace(KILL, previous=PREVIOUS)])


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (RECORDED, ""),
        (replace(RECORDED, previous={**PREVIOUS, 2: []}), "row 2 overwrote ['row 1']"),
        (replace(RECORDED, previous={1: []}), "row 2 overwrote ['row 1'], and on record is None"),
        (
            replace(RECORDED, kills=[replace(KILL, previous={1: []})]),
            "row 2 was claimed without its previous state (sent)",
        ),
    ],
)
def test_previous_states_are_judged(case, words):
    found = list(violations(case))
    assert any(words in each for each in found) if words else found == []


def group(seq: int, *entities: str, **changes: Any) -> dict[str, Any]:
    entry = {
        "operation": "oracle.offer-status",
        "id": None,
        "ids": list(entities),
        "body": '{"statusCode": "2"}',
    }
    return {**put(seq, 1), **entry, **changes}


GROUP = Case(
    rows=[Row(1, "x", "inactive"), Row(2, "y", "inactive")],
    log=[group(10, "x", "y")],
    kills=[Kill("recorded", 15, frozenset(), {1: "updated", 2: "updated"})],
    reported=[(1, "updated"), (2, "updated")],
    held={"x": {"inactive"}, "y": {"inactive"}},
)
HALF = Kill("recorded", 15, frozenset({2}), {1: "updated"})


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (GROUP, ""),
        (replace(GROUP, kills=[HALF]), "rows [1, 2] were confirmed together, [1] are ended"),
        # of a refused one the rows are sent apart, and end apart
        (replace(GROUP, kills=[HALF], log=[group(10, "x", "y", fault="500-after")]), ""),
        (replace(GROUP, log=[group(10, "x", "y", "x")]), "an entity is there twice"),
    ],
)
def test_groups_are_judged_as_a_whole(case, words):
    found = list(violations(case))
    assert any(words in each for each in found) if words else found == []


@pytest.mark.parametrize(
    ("status", "after", "undone", "words"),
    [
        ("updated", 1, "updated", ""),
        ("updated", 2, "updated", "x holds 2 after the undo, and held 1"),
        ("updated", 2, "unknown", ""),  # the undo says so itself
        ("unknown", 2, "conflict", ""),
        ("updated", 2, "conflict", "the undo of x is a conflict, and nobody else has changed it"),
    ],
)
def test_an_undo_is_judged(status, after, undone, words):
    found = list(
        not_restored(with_status(1, status, GROUP), {"x": 1}, {"x": after}, [("x", undone)])
    )
    assert any(words in each for each in found) if words else found == []
