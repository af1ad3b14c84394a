from __future__ import annotations

import random

import pytest

from pipeline.pacing.suspicion import Suspicion


def until_enough(share: float, most: int, seed: int) -> int:
    """After how many requests, of which that share fails, it is a limit; `most` if it is not."""
    chance, suspicion = random.Random(seed), Suspicion()
    for number in range(1, most):
        if chance.random() < share:
            suspicion.on_failure()
        else:
            suspicion.on_success()
        if suspicion.is_enough:
            return number
    return most


@pytest.mark.parametrize(
    ("share", "least", "most"),
    [
        (1.0, 5, 5),
        (0.5, 5, 30),
        (0.2, 15, 60),
        (0.1, 40, 150),
        (0.02, 10_000, 100_000),  # accidents
        (0.005, 100_000, 100_000),
    ],
)
def test_after_how_many_requests_it_is_a_limit(share, least, most):
    needed = [until_enough(share, 100_000, seed) for seed in range(20)]
    assert least <= sum(needed) / len(needed) <= most


def test_a_limit_that_comes_late_is_seen_as_quickly():
    suspicion = Suspicion()
    suspicion.on_success(1_000_000)
    for _ in range(5):
        assert not suspicion.is_enough
        suspicion.on_failure()
    assert suspicion.is_enough


def test_one_alone_is_lone_and_a_second_soon_after_is_not():
    suspicion = Suspicion()
    suspicion.on_failure()
    assert suspicion.is_lone
    suspicion.on_success(50)
    suspicion.on_failure()
    assert suspicion.is_lone
    suspicion.on_failure()
    assert not suspicion.is_lone
