from __future__ import annotations

import pytest

from pipeline.model import Answer, Effect, Verdict
from pipeline.workers.row import is_in_doubt

V, E = Verdict, Effect


@pytest.mark.parametrize(
    ("effect", "was_in_doubt", "expected"),
    [
        (E.NONE, False, False),  # certainly not applied
        (E.MAYBE, False, True),  # a timeout: who knows
        (E.APPLIED, False, False),
        (E.NONE, True, True),  # a 404 after a silence proves nothing about the silence
        (E.APPLIED, True, False),  # the same request, confirmed: resolve
    ],
)
def test_doubt_stays_until_it_is_applied(effect, was_in_doubt, expected):
    assert is_in_doubt(Answer(V.TRANSIENT, effect), was_in_doubt=was_in_doubt) is expected
