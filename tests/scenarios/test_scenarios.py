"""The engine's pace against modelled vendors: each .toml file of this folder is a case.

SCENARIO_SEEDS=100 draws the end of the outage a hundred times instead of ten.
"""

from __future__ import annotations

import os

import pytest

from tests.scenarios.metrics import faults
from tests.scenarios.play import play
from tests.scenarios.scenario import FOLDER, Scenario, load, load_scenarios

OUTAGES = ("outage_503", "outage_refused", "outage_silence")
SEEDS = range(int(os.environ.get("SCENARIO_SEEDS", "10")))


@pytest.mark.parametrize("scenario", load_scenarios(), ids=lambda each: each.name)
def test_what_must_come_out_comes_out(scenario: Scenario) -> None:
    assert faults(play(scenario)) == [], scenario.says


@pytest.mark.parametrize(
    ("scenario", "seed"),
    [(load(FOLDER / f"{OUTAGES[seed % 3]}.toml"), seed) for seed in SEEDS],
    ids=lambda each: getattr(each, "name", each),
)
def test_whenever_an_outage_ends_the_pace_comes_back(scenario: Scenario, seed: int) -> None:
    assert faults(play(scenario.drawn(seed))) == []


def test_the_same_scenario_goes_the_same_way_each_time() -> None:
    scenario = load(FOLDER / "jitter.toml").shortened(10)
    first, second = play(scenario), play(scenario)
    assert first.sent == second.sent
    assert play(scenario.drawn(1)).sent != first.sent
