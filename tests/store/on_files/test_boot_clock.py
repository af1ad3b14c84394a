from __future__ import annotations

import pytest

from pipeline.store.on_files.boot_clock import Moment, age_s

NOTED = Moment("a", 100.0, 1_000.0)


@pytest.mark.parametrize(
    ("now", "expected_s"),
    [
        pytest.param(Moment("a", 160.0, 1_060.0), 62.0, id="no step"),
        pytest.param(Moment("a", 160.0, 9_999.0), 62.0, id="the wall clock went ahead"),
        pytest.param(Moment("a", 160.0, -9_999.0), 62.0, id="it went back"),
        pytest.param(Moment("a", 90.0, 1_060.0), -8.0, id="the machine was set back"),
        pytest.param(Moment("b", 20.0, 1_060.0), 62.0, id="another boot: by the wall clock"),
        pytest.param(Moment("b", 20.0, 900.0), 20.0, id="but never younger than the boot"),
        pytest.param(Moment("", 1_060.0, 1_060.0), 62.0, id="a boot without a name"),
    ],
)
def test_age_of_a_recorded_time(now, expected_s):
    assert age_s(98.0, NOTED, now) == expected_s


def test_without_a_boot_name_the_wall_clock_is_used():
    old = Moment("", 1_000.0, 1_000.0)
    assert age_s(990.0, old, Moment("b", 20.0, 1_060.0)) == 70.0
    assert age_s(990.0, old, Moment("", 1_060.0, 1_060.0)) == 70.0
