from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings

from tests.promises.files import Case, cases
from tests.promises.judge import play, starved, unsafe

SEEDS = int(os.environ.get("LIVENESS_SEEDS", "0"))


@settings(
    max_examples=SEEDS or 40,
    derandomize=not SEEDS,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(cases())
def test_every_row_that_can_be_sent_is_sent_in_time(case: Case) -> None:
    run = play(case)
    assert unsafe(run) == []
    assert starved(run) == []
