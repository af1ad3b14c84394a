"""When a reply is believed."""

from __future__ import annotations

import pytest

from pipeline.http_client.reply_certainty import (
    CERTAIN_AFTER_S,
    MAX_EARLY_S,
    certain_at_s,
    update_typical_s,
)


@pytest.mark.parametrize(
    ("took_s", "typical_s", "waits_s"),
    [
        (0.2, 0.2, CERTAIN_AFTER_S),  # as usual
        (0.9, 0.2, CERTAIN_AFTER_S),  # late: the usual time is over
        (0.0, 0.2, 0.2 + CERTAIN_AFTER_S),  # early: what it displaced may come at the usual time
        (0.15, 0.2, 0.05 + CERTAIN_AFTER_S),
        (0.0, 60.0, MAX_EARLY_S + CERTAIN_AFTER_S),  # bounded
    ],
    ids=["usual", "late", "at once", "early", "bounded"],
)
def test_a_reply_that_comes_early_is_held_until_the_usual_time(took_s, typical_s, waits_s):
    now_s = 100.0 + took_s
    assert certain_at_s(now_s, 100.0, typical_s) - now_s == pytest.approx(waits_s)


def test_what_is_usual_follows_slowly():
    found = None
    for took_s in (0.2, 0.2, 0.2, 0.01):
        found = update_typical_s(found, took_s)
    assert 0.15 < found < 0.2
