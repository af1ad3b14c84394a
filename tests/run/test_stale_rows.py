"""Places in time and what follows from them, without a vendor; whole runs are in test_old_rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobs.entity_join import JoinedJob
from pipeline.model import Status
from pipeline.run.stale_row_rules import StaleRowDecision, Writes
from pipeline.run.stale_rows import RowState, decide, parse_state, positions

SEQUENCES = {"mon": 1, "tue": 2, "wed": 3, "thu": 4}
UPDATED, FAILED, UNKNOWN = Status.UPDATED, Status.FAILED, Status.UNKNOWN
SUPERSEDED, UNCHANGED = Status.SUPERSEDED, Status.UNCHANGED


def met(
    run: str,
    row: int,
    status: Status | None = None,
    *,
    since: tuple[str, int] = ("", 0),
    payload: int = 0,
    writes: Writes = None,
    is_selected: bool = False,
    is_claimed: bool = False,
    is_repeatable: bool = True,
) -> JoinedJob:
    stand = RowState(status, is_claimed, is_repeatable, writes)
    return JoinedJob(is_selected, run, row, "op", *since, payload, stand.text())


def asking(row: int, **more: Any) -> JoinedJob:
    return met("thu", row, is_selected=True, **more)


MON_5 = ("mon", 5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([met("mon", 5, payload=1), met("wed", 1, payload=2)], [(1, 5, 1, 5), (3, 1, 3, 1)]),
        # a mended row keeps the place, and is a later version; the same payload is the same one
        (
            [
                met("mon", 5, payload=1),
                met("tue", 1, since=MON_5, payload=2),
                met("wed", 1, since=MON_5, payload=1),
            ],
            [(1, 5, 1, 5), (1, 5, 2, 1), (1, 5, 1, 5)],
        ),
        # a report of a report leads to the first
        (
            [
                met("mon", 5),
                met("tue", 1, since=MON_5),
                met("wed", 9, since=("tue", 1), payload=1),
            ],
            [(1, 5, 1, 5), (1, 5, 1, 5), (1, 5, 3, 9)],
        ),
        # the row there was about another entity, so it is not among these
        ([met("wed", 1, since=MON_5)], [(1, 5, 3, 1)]),
        # a run that is forgotten is older than all
        ([met("wed", 1, since=("gone", 7))], [(0, 7, 3, 1)]),
        # nothing sane says so; it ends all the same
        (
            [met("tue", 1, since=("wed", 1)), met("wed", 1, since=("tue", 1))],
            [(3, 1, 2, 1), (3, 1, 2, 1)],
        ),
    ],
)
def test_positions_in_time(
    rows: list[JoinedJob], expected: list[tuple[int, int, int, int]]
) -> None:
    assert [place for place, _ in positions(rows, SEQUENCES)] == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # of the very run whose place it keeps: later rows, and that row itself
        ([met("mon", 5, FAILED), met("mon", 9, UPDATED)], (StaleRowDecision.SUPERSEDED, "mon", 9)),
        ([met("mon", 5, FAILED), met("mon", 3, UPDATED)], (StaleRowDecision.SENT, None, None)),
        ([met("mon", 5, UPDATED)], (StaleRowDecision.UNCHANGED, "mon", 5)),
        (
            [met("mon", 5, UPDATED, payload=1)],
            (StaleRowDecision.SENT, None, None),
        ),  # this one is mended
        ([met("mon", 5, UNKNOWN)], (StaleRowDecision.IN_DOUBT, "mon", 5)),
        ([met("mon", 5, None, is_claimed=True)], (StaleRowDecision.IN_DOUBT, "mon", 5)),
        ([met("mon", 5, None)], (StaleRowDecision.SENT, None, None)),
        # of a run between
        ([met("tue", 1, UPDATED)], (StaleRowDecision.SUPERSEDED, "tue", 1)),
        ([met("tue", 1, UNCHANGED)], (StaleRowDecision.SUPERSEDED, "tue", 1)),
        ([met("tue", 1, FAILED)], (StaleRowDecision.SENT, None, None)),
        ([met("tue", 1, UNKNOWN)], (StaleRowDecision.OVERTAKEN, "tue", 1)),
        ([met("tue", 1, None, is_claimed=True)], (StaleRowDecision.OVERTAKEN, "tue", 1)),
        # what won over that one is not on record any more
        ([met("tue", 1, SUPERSEDED)], (StaleRowDecision.SUPERSEDED, "tue", 1)),
        ([met("mon", 5, SUPERSEDED)], (StaleRowDecision.SUPERSEDED, "mon", 5)),
        # of a later run, but with an older place
        ([met("tue", 1, UPDATED, since=("mon", 4))], (StaleRowDecision.SENT, None, None)),
        ([met("tue", 1, UPDATED, since=("mon", 6))], (StaleRowDecision.SUPERSEDED, "tue", 1)),
        # the same place: sent again in vain, done since, mended since
        (
            [met("mon", 5, FAILED), met("tue", 1, FAILED, since=MON_5)],
            (StaleRowDecision.SENT, None, None),
        ),
        (
            [met("mon", 5, FAILED), met("tue", 1, UPDATED, since=MON_5)],
            (StaleRowDecision.UNCHANGED, "tue", 1),
        ),
        (
            [met("mon", 5, FAILED), met("tue", 1, UPDATED, since=MON_5, payload=1)],
            (StaleRowDecision.SUPERSEDED, "tue", 1),
        ),
        # of this run: what goes first is newer; what comes later is no trouble
        ([asking(1, since=("mon", 6))], (StaleRowDecision.OVERTAKEN, "thu", 1)),
        ([asking(3, since=("mon", 6))], (StaleRowDecision.SENT, None, None)),
        ([asking(1)], (StaleRowDecision.OVERTAKEN, "thu", 1)),
        ([met("thu", 1, UPDATED)], (StaleRowDecision.SUPERSEDED, "thu", 1)),
        (
            [met("thu", 3, UPDATED)],
            (StaleRowDecision.SUPERSEDED, "thu", 3),
        ),  # a resume: it was sent already
        ([asking(1, since=MON_5)], (StaleRowDecision.OVERTAKEN, "thu", 1)),  # the same row twice
    ],
)
def test_what_becomes_of_row_2_that_keeps_the_place_of_mondays_row_5(
    rows: list[JoinedJob], expected: tuple[StaleRowDecision, str | None, int | None]
) -> None:
    row = asking(2, since=MON_5)
    found = {each.job.row: each for each in decide([*rows, row], "thu", SEQUENCES)}
    by = found[2].by
    assert (found[2].decision, by and by.run, by and by.row) == expected


def test_a_row_that_is_not_sent_delays_no_other() -> None:
    rows = [asking(1, since=("mon", 6)), asking(2, since=MON_5), met("tue", 1, UPDATED)]
    assert {each.decision for each in decide(rows, "thu", SEQUENCES)} == {
        StaleRowDecision.SUPERSEDED
    }


@pytest.mark.parametrize(
    ("is_repeatable", "readable", "fate"),
    [
        (True, (), StaleRowDecision.IN_DOUBT),
        (False, ("op",), StaleRowDecision.IN_DOUBT),
        (False, (), StaleRowDecision.UNSETTLED),
    ],
)
def test_what_may_have_been_applied_is_repeated_only_where_it_can_be(
    fate: StaleRowDecision, readable: tuple[str, ...], *, is_repeatable: bool
) -> None:
    rows = [met("mon", 5, UNKNOWN), asking(2, since=MON_5, is_repeatable=is_repeatable)]
    (found,) = decide(rows, "thu", SEQUENCES, readable)
    assert (found.decision, found.is_in_doubt) == (fate, True)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ({"is_claimed": True}, met("tue", 1, UNKNOWN)),  # this run may have sent it
        ({"since": MON_5}, met("tue", 1, UNKNOWN)),  # Monday's may have
    ],
)
def test_a_row_in_doubt_that_is_overtaken_is_not_called_failed(
    own: dict[str, Any], other: JoinedJob
) -> None:
    row = met("mon", 2, is_selected=True, **own)
    found = list(decide([row, other], "mon", {**SEQUENCES, "mon": 1}))
    assert [(each.decision, each.is_in_doubt) for each in found] == [
        (StaleRowDecision.OVERTAKEN, "is_claimed" in own)
    ]


def test_many_rows_of_one_entity_are_decided_in_one_pass() -> None:
    count = 20_000
    newer = [met("tue", row, UPDATED) for row in range(1, count)]
    older = [asking(row, since=("mon", row)) for row in range(1, count)]
    found = list(decide([*newer, *older], "thu", SEQUENCES))
    assert {(each.decision, each.by and each.by.row) for each in found} == {
        (StaleRowDecision.SUPERSEDED, count - 1)
    }


# ------------------------------------------------------------------------------ a vendor's memory

POINTERS = ("/a", "/a/x", "/b")
WRITES = st.sampled_from([None, *(frozenset({p}) for p in POINTERS), frozenset({"/a", "/b"})])
ENDS = st.sampled_from(["applied", "refused", "lost", "lost but applied", "unsent"])


Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass
class Vendor:
    """One entity: which place in time each of its leaves was last written from."""

    leaves: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def write(self, writes: Writes, place: tuple[int, ...]) -> None:
        for leaf in ("/a/x", "/a/y", "/b"):
            if writes is None or any(f"{leaf}/".startswith(f"{above}/") for above in writes):
                assert place >= self.leaves.get(leaf, ()), "an older row overwrote a newer one"
                self.leaves[leaf] = place


class History:
    """Runs over one entity, each settled before it is sent."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], JoinedJob] = {}
        self.sequences: dict[str, int] = {}
        self.vendor = Vendor()

    def begin(self, run: str, rows: list[JoinedJob]) -> None:
        self.sequences[run] = len(self.sequences) + 1
        self.rows |= {(run, row.row): row for row in rows}

    def send(self, run: str, draw: Draw) -> None:
        asks = {
            key: row._replace(is_selected=key[0] == run and _stand(row).status is None)
            for key, row in self.rows.items()
        }
        fates = {
            each.job.row: each.decision for each in decide([*asks.values()], run, self.sequences)
        }
        order = {
            (each.run, each.row): at for at, each in positions([*asks.values()], self.sequences)
        }
        for row, fate in sorted(fates.items()):
            key = (run, row)
            if fate in {StaleRowDecision.SENT, StaleRowDecision.IN_DOUBT}:
                self._send(key, order[key], draw(ENDS))
            else:
                ended = {
                    StaleRowDecision.SUPERSEDED: SUPERSEDED,
                    StaleRowDecision.UNCHANGED: UNCHANGED,
                }
                self._end(key, ended.get(fate, FAILED))

    def _send(self, key: tuple[str, int], place: tuple[int, ...], end: str) -> None:
        if "applied" in end:
            self.vendor.write(_stand(self.rows[key]).writes, place)
        status = {"applied": UPDATED, "refused": FAILED, "unsent": None}.get(end, UNKNOWN)
        self._end(key, status)

    def _end(self, key: tuple[str, int], status: Status | None) -> None:
        row = self.rows[key]
        self.rows[key] = row._replace(state=_stand(row)._replace(status=status).text())


def _stand(row: JoinedJob) -> RowState:
    return parse_state(row.state)


@st.composite
def new_row(draw: st.DrawFn, run: str, number: int, known: list[tuple[str, int]]) -> JoinedJob:
    since = draw(st.sampled_from([("", 0), *known]))
    return met(run, number, since=since, payload=draw(st.integers(0, 2)), writes=draw(WRITES))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_comes_back_in_whatever_order_no_leaf_goes_back_in_time(
    data: st.DataObject,
) -> None:
    history = History()
    for _ in range(data.draw(st.integers(2, 6))):
        known = sorted(history.rows)
        is_resumed: bool = data.draw(st.booleans())
        if history.sequences and is_resumed:
            history.send(data.draw(st.sampled_from(sorted(history.sequences))), data.draw)
            continue
        run = f"r{len(history.sequences)}"
        count = data.draw(st.integers(1, 4))
        history.begin(run, [data.draw(new_row(run, n, known)) for n in range(1, count + 1)])
        history.send(run, data.draw)
