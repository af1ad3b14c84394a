"""Every row that can be sent is sent, within a bound: `within_s` of the judge, and docs/pacing.md.

LIVENESS_SEEDS=1000 makes up a thousand files anew, instead of always the same few.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.promises.broken_rules import RULES, Rule
from tests.promises.files import Case, cases
from tests.promises.judge import play, starved, unsafe

SEEDS = int(os.environ.get("LIVENESS_SEEDS", "0"))
MADE_UP = settings(
    max_examples=SEEDS or 40,
    derandomize=not SEEDS,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # a case that fails says what it is; to shrink it takes minutes
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.timeout(7200 if SEEDS else 300)


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


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_it_finds_rules_that_are_wrong(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(monkeypatch)

    @settings(MADE_UP, max_examples=500, derandomize=True)
    @given(cases())
    def holds(case: Case) -> None:
        assert starved(play(case)) == []

    with pytest.raises(AssertionError):
        holds()
