from __future__ import annotations

import pytest

from pipeline.pacing.strays import BELIEVED, Strays

COUNT = 10


def refuse(strays: Strays, accepted: int, refused: int) -> None:
    """COUNT times so many in a row."""
    for _ in range(COUNT):
        strays.on_success(accepted)
        for _ in range(refused):
            strays.on_failure()


@pytest.mark.parametrize(
    ("before", "to", "after", "is_futile"),
    [
        ((4, 1), 0.75, (4, 1), True),  # the same share, one at a time
        ((4, 1), 0.75, (8, 1), True),  # hardly less
        ((4, 1), 0.75, (19, 1), False),  # a limit would leave none of them
        ((4, 1), 0.95, (4, 1), False),  # too little to tell
        ((8, 8), 0.75, (40, 10), False),  # many in a row: a limit over a longer time
        ((1, 9), 0.5, (1, 9), False),  # so many are no accidents
        ((2, 3), 0.5, (9, 1), False),  # as much as a limit of that size leaves
    ],
)
def test_lowering_was_futile_if_as_many_are_refused_after_it(before, to, after, is_futile):
    strays = Strays()
    refuse(strays, *before)
    strays.on_lowered(to)
    refuse(strays, *after)
    assert strays.learn() is is_futile


@pytest.mark.parametrize(("by", "is_futile"), [(1.04, True), (1.9, False)])
def test_what_is_raised_again_to_nearly_what_it_was_proves_nothing(by, is_futile):
    strays = Strays()
    refuse(strays, 4, 1)
    strays.on_lowered(0.5)
    strays.on_raised(by)
    refuse(strays, 4, 1)
    assert strays.learn() is is_futile


def test_a_share_that_was_learned_is_no_evidence_and_is_believed_for_a_while():
    strays = Strays()
    refuse(strays, 4, 1)
    strays.on_lowered(0.5)
    refuse(strays, 4, 1)
    assert strays.learn()
    refuse(strays, 4, 1)
    assert not strays.is_likely
    refuse(strays, 1, 2)  # a limit among them
    assert strays.is_enough
    strays.on_success(BELIEVED)
    assert strays.share == 0
