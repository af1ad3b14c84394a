"""Every row that can be sent is sent, within a bound: `within_s` of the judge, and docs/pacing.md.

LIVENESS_SEEDS=1000 makes up a thousand files anew, instead of always the same few.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.promises.broken_rules import RULES, Rule
from tests.promises.files import Case, cases
from tests.promises.judge import play, starved, unsafe
from tests.promises.shop import Bad, Line, Terms
from tests.scenarios.vendor import Outage

SEEDS = int(os.environ.get("LIVENESS_SEEDS", "0"))
MADE_UP = settings(
    max_examples=SEEDS or 40,
    derandomize=not SEEDS,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # a case that fails says what it is; to shrink it takes minutes
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.timeout(7200 if SEEDS else 600)


def rows(count: int, letter: str, bad: Bad = "", **more: Any) -> list[Line]:
    return [Line(f"{letter}{n}", bad, **more) for n in range(count)]


KNOWN = {
    "bad ones, then such as may not be repeated": (
        Terms(manner="oracle"),
        rows(1, "a") + rows(12, "b", "500") + rows(288, "c", is_once=True),
    ),
    "bad ones at the end": (Terms(), rows(288, "a") + rows(12, "b", "500")),
    "bad ones at the end, and others behind them": (
        Terms(),
        rows(130, "a") + rows(12, "b", "silence") + rows(12, "b"),
    ),
    "many in one place": (Terms(), rows(1, "a") + rows(300, "b", "reset") + rows(300, "c")),
    "bad ones fill whole groups": (
        Terms(manner="oracle", groups=20),
        rows(1, "a") + rows(40, "b", "500", group="x") + rows(400, "c", group="x"),
    ),
    "a bad one in each group hangs": (
        Terms(manner="oracle", groups=20),
        [Line(f"a{n}", "" if n % 20 else "silence", group="x") for n in range(1, 200)],
    ),
    "a group with a bad one, and bad ones behind it": (
        Terms(manner="oracle", quota="100/s", groups=20),
        [
            *(*rows(400, "a"), Line("s", "silence", group="x")),
            *(*rows(19, "b", group="x"), *rows(8, "c", "reset")),
        ],
    ),
    "every other one": (Terms(), rows(50, "a", "503") + rows(1, "c") + rows(50, "b")),
    "guards": (Terms(manner="adobe"), rows(12, "b", "500", is_once=True) + rows(200, "a")),
    "the last ones are bad, and a while cannot be reached": (
        Terms(
            manner="oracle",
            quota="20/s",
            groups=4,
            outages=[Outage(from_s=2.6, until_s=42.0, how="refused")],
        ),
        [
            *rows(20, "a"),
            *(Line(f"b{n}", "" if n % 4 else "reset", group="x") for n in range(12)),
        ],
    ),
}


@pytest.mark.parametrize(("terms", "lines"), KNOWN.values(), ids=KNOWN.keys())
@pytest.mark.parametrize("in_flight", [1, 16])
def test_rows_that_are_never_answered_keep_no_other_from_being_sent(
    terms: Terms, lines: list[Line], in_flight: int
) -> None:
    run = play(Case(replace(terms, in_flight=in_flight), lines, seed=1))
    assert unsafe(run) == []
    assert starved(run) == []
    assert [leg.stopped for leg in run.legs] == [None]
    ends = {str(run.results[row].status) for row, line in enumerate(lines, 1) if line.bad}
    assert ends <= {"unknown", "failed"}


@pytest.mark.parametrize("how", ["503", "refused", "silence"])
def test_an_outage_that_lasts_stops_the_account_and_costs_no_row(how: str) -> None:
    """It ends while nobody sends, and the run is carried on."""
    outage = Outage(from_s=3.0, until_s=80.0, how=how)
    terms = Terms(max_outage_s=60.0, outages=[outage])
    run = play(Case(terms, rows(300, "a"), seed=1))
    assert unsafe(run) == []
    assert "down" in str(run.legs[0].stopped)
    assert sum(sent.is_fault for sent in run.log if sent.left_s < 75.0) < 60  # of the first process
    assert {str(result.status) for result in run.results.values()} == {"updated"}


@MADE_UP
@given(cases())
def test_every_row_that_can_be_sent_is_sent_in_time(case: Case) -> None:
    run = play(case)
    assert unsafe(run) == []
    assert starved(run) == []


@MADE_UP
@given(cases(), st.lists(st.sampled_from([0.05, 0.3, 1.0, 5.0, 30.0]), min_size=1, max_size=3))
def test_so_it_is_where_the_process_is_stopped_and_the_run_carried_on(
    case: Case, stops_s: Sequence[float]
) -> None:
    run = play(case, stops_s)
    assert unsafe(run) == []
    assert starved(run) == []


IN_DOUBT_AT_THE_END = Case(
    Terms(
        manner="oracle",
        quota="5/s",
        in_flight=2,
        groups=4,
        replaces=False,
        outages=[
            Outage(from_s=2.0, until_s=42.0, how="silence"),
            Outage(from_s=42.5, until_s=42.8, how="refused"),
        ],
    ),
    [
        *(Line("first"), Line("first", "slow 500", group="x")),
        *(Line(f"e{n}") for n in range(2, 14)),
        *(Line("e14", "reset", group="y"), Line("e15", group="y")),
        *(Line(f"e{n}", "reset", group="y") for n in (16, 17, 9, 19)),
        *(Line("e20", group="y"), Line("e11", "reset", group="y")),
        *(Line(f"e{n}", "reset", group="y") for n in (9, 23, 23)),
        Line("e9", group="y"),
    ],
    seed=342,
)
"""An outage and rows that are never answered leave more rows in doubt than a group holds."""


def test_where_only_rows_in_doubt_are_left_each_process_ends_one() -> None:
    run = play(IN_DOUBT_AT_THE_END, [0.3])
    assert unsafe(run) == []
    assert starved(run) == []
    ends = [[each for each in leg.results if each.status != "not_attempted"] for leg in run.legs]
    assert all(ends[:-1])  # the last one finds a row behind an unknown one


FIRST = {
    "a row waits behind the only one": (
        Terms(outages=[Outage(from_s=0.0, until_s=40.0, how="refused")]),
        rows(1, "a") + rows(1, "a"),
    ),
    "the same, and more rows than are read ahead": (
        Terms(quota="100/s", outages=[Outage(from_s=0.0, until_s=5.0, how="refused")]),
        [Line("a")] * 4_500,
    ),
    "guards": (
        Terms(manner="adobe", outages=[Outage(from_s=0.0, until_s=40.0, how="refused")]),
        [Line("a", is_once=True)] * 2,
    ),
    "all that may go are silent": (
        Terms(),
        rows(6, "a", "silence") + rows(6, "a"),
    ),
    "and their reads are as slow as a time limit allows": (
        Terms(manner="adobe", timeout_s=30.0),
        rows(3, "a", "silence") + rows(20, "a"),
    ),
    "groups of them": (
        Terms(manner="oracle", groups=20),
        [Line(f"a{n}", "silence", group="x") for n in range(30)] + rows(30, "a"),
    ),
    "one more than a group": (
        Terms(manner="oracle", groups=4),
        [Line(f"a{n}", "reset", group="x") for n in range(5)] + rows(5, "a", group="x"),
    ),
    "several groups, and a row behind the last": (
        Terms(manner="oracle", groups=4, replaces=False),
        [Line("first")] + [Line(f"a{n}", "reset", group="x") for n in range(25)] + [Line("a24")],
    ),
}
"""What the first requests of a process meet."""


@pytest.mark.parametrize(("terms", "lines"), FIRST.values(), ids=FIRST.keys())
@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("stops_s", [(), (0.05, 0.05)], ids=["", "stopped"])
def test_first_requests_without_a_reply_stop_each_process_and_the_next_one_gets_further(
    terms: Terms, lines: list[Line], in_flight: int, stops_s: Sequence[float]
) -> None:
    run = play(Case(replace(terms, in_flight=in_flight), lines, seed=1), stops_s)
    assert unsafe(run) == []
    assert starved(run) == []
    assert [leg.stopped for leg in run.legs[len(stops_s) :]].count("the time is over") == 0


OUTAGES = [
    Case(
        Terms(outages=[Outage(from_s=1.0, until_s=41.0, how="503")]),
        rows(100, "a"),
        seed=1,
    ),
    Case(
        Terms(manner="adobe", outages=[Outage(from_s=1.0, until_s=41.0, how="503")], reads_on=True),
        rows(100, "a", is_once=True),
        seed=1,
    ),
    Case(
        Terms(
            in_flight=1, timeout_s=2.0, outages=[Outage(from_s=1.0, until_s=31.0, how="silence")]
        ),
        rows(100, "a"),
        seed=1,
    ),
    Case(
        Terms(
            manner="oracle",
            quota="2/s",
            in_flight=3,
            groups=4,
            outages=[
                Outage(from_s=1.6, until_s=2.6, how="silence"),
                Outage(from_s=2.6, until_s=42.0, how="refused"),
            ],
        ),
        rows(4, "a") + rows(12, "b", group="x"),
        seed=1,
    ),
]
"""In the middle of a file or at its end, and soon over."""


@pytest.mark.parametrize("case", OUTAGES, ids=["503", "reads go on", "silence", "the last groups"])
def test_a_short_outage_costs_no_row(case: Case) -> None:
    run = play(case)
    assert unsafe(run) == []
    assert {str(result.status) for result in run.results.values()} == {"updated"}


FOUND_BY = {
    "former": KNOWN["bad ones, then such as may not be repeated"],
    "no_turn_for_once": KNOWN["bad ones, then such as may not be repeated"],
    "groups_end_together": KNOWN["a bad one in each group hangs"],
    "never_at_fault": (  # the last ones are bad, and one comes again
        Terms(manner="oracle", quota="20/s", groups=20),
        [
            *rows(2, "a", group="x"),
            *rows(6, "b", "500", group="x"),
            *(Line("b0", "500", group="x"), Line("c", group="x"), Line("b0", group="x")),
        ],
    ),
}
"""A wrong rule and a known case that starves under it. A case for the others is searched for."""


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_it_finds_rules_that_are_wrong(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    if rule.__name__ in FOUND_BY:
        terms, lines = FOUND_BY[rule.__name__]
        known = Case(replace(terms, in_flight=1), lines, seed=1)
        assert starved(play(known)) == []
        rule(monkeypatch)
        assert starved(play(known)) != []
        return
    rule(monkeypatch)

    @settings(MADE_UP, max_examples=200, derandomize=True)
    @given(cases())
    def holds(case: Case) -> None:
        assert starved(play(case)) == []

    if any(starved(play(case)) for case in OUTAGES):
        return
    with pytest.raises(AssertionError):
        holds()
