from __future__ import annotations

from datetime import UTC, datetime

from pipeline.run.outcome import RunOutcome


def test_a_clock_that_is_set_during_a_run_does_not_change_how_long_it_took():
    before_it_was_set = datetime(2020, 1, 1, tzinfo=UTC)
    outcome = RunOutcome(started=before_it_was_set)
    assert 0 <= outcome.now_at_s - outcome.began_at_s < 60
