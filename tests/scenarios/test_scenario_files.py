from __future__ import annotations

import pytest

from tests.scenarios.compare import figures
from tests.scenarios.link import Sent
from tests.scenarios.metrics import METRICS, Run
from tests.scenarios.scenario import FOLDER, Scenario, load, load_scenarios

FILE = """
says = "So it goes."
lasts_s = 50
end_spread_s = 10
[account]
quota = ["20/s"]
in_flight = 8
[vendor]
windows = ["20/s"]
[[change]]
at_s = 5
windows = ["10/s"]
[[outage]]
from_s = 10
until_s = 12
every_s = 10
times = 3
how = "refused"
[[expect]]
share = [0.9, 1]
[[expect]]
from_s = 20
wasted = [0, 0.5]
"""


def written(tmp_path, text: str = FILE) -> Scenario:
    path = tmp_path / "so_it_goes.toml"
    path.write_text(text)
    return load(path)


def test_what_a_file_says_is_what_is_played(tmp_path):
    scenario = written(tmp_path)
    assert scenario.name == "so_it_goes"
    assert [scenario.best_per_s(at_s) for at_s in (0, 5, 10, 12, 20, 21, 25, 31, 32)] == [
        *(20, 10, 0, 10, 0, 0, 10, 0, 10)
    ]
    assert scenario.best(0, 50) == pytest.approx(5 * 20 + 39 * 10)
    assert [(each.from_s, each.until_s) for each in scenario.expectations] == [(0, 50), (20, 50)]
    assert scenario.expectations[1].ranges == {"wasted": (0, 0.5)}


@pytest.mark.parametrize(
    "line", ['sayz = "x"', "[account]\nspeed = 9", "[vendor]\ncoffee = true", "[[expect]]\nx = 1"]
)
def test_a_key_that_nobody_reads_is_an_error(tmp_path, line):
    section = line.split("\n", maxsplit=1)[0]
    text = FILE.replace(section, line) if section in FILE else f"{line}\n{FILE}"
    with pytest.raises((TypeError, ValueError)):
        written(tmp_path, text)


def test_a_draw_moves_the_last_end_and_the_run_with_it(tmp_path):
    scenario = written(tmp_path)
    drawn = [scenario.drawn(seed) for seed in range(50)]
    later_s = [each.course.outages[-1].until_s - 32 for each in drawn]
    assert 0 <= min(later_s) < 1
    assert 9 < max(later_s) <= 10
    assert [each.lasts_s for each in drawn] == pytest.approx([50 + s for s in later_s])
    assert all(each.course.outages[:2] == scenario.course.outages[:2] for each in drawn)
    assert scenario.drawn(7) == scenario.drawn(7)


@pytest.mark.parametrize("scenario", load_scenarios(), ids=lambda scenario: scenario.name)
def test_a_scenario_says_what_it_wants_in_terms_that_exist(scenario):
    assert scenario.says.endswith(".")
    assert scenario.expectations
    for expectation in scenario.expectations:
        assert expectation.ranges.keys() <= METRICS.keys()
        assert 0 <= expectation.from_s < expectation.until_s <= scenario.lasts_s


def test_a_line_of_the_comparison(tmp_path):
    sent = [Sent("s1", 1.0, 1.1, 1.2, "ok", 204), Sent("s2", 1.0, 1.1, 1.2, "limit", 429)]
    run = Run(load(FOLDER / "steady.toml"), sent, lost_rows=3)
    assert figures(run) == ("0.001", "50.0%", "0.0 s", "0", "0", "3")
