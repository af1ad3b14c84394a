from __future__ import annotations

import pytest

from pipeline.model.sample import LATENCY_BOUNDS_S
from pipeline.run.estimate import Bottleneck, estimate_sending, mean_latency_s


@pytest.mark.parametrize(
    ("requests", "hottest", "latency_s", "seconds", "bound"),
    [
        (1000, 0, None, 50.0, Bottleneck.QUOTA),
        (1000, 0, 0.1, 50.0, Bottleneck.QUOTA),  # 4 at once bring 40 a second
        (1000, 0, 0.4, 100.0, Bottleneck.IN_FLIGHT),  # 4 at once bring 10 a second
        (1000, 1000, 0.1, 100.0, Bottleneck.ENTITY),  # one at a time
        (1000, 100, 0.1, 50.0, Bottleneck.QUOTA),  # others go beside it
        (1000, 1000, None, 250.0, Bottleneck.ENTITY),  # nobody knows: a quarter of a second
        (1000, 1, 9.0, 2250.0, Bottleneck.IN_FLIGHT),
        (0, 0, 1.0, 0.0, Bottleneck.QUOTA),
    ],
)
def test_what_takes_longest_says_how_long(
    requests: int, hottest: int, latency_s: float | None, seconds: float, bound: Bottleneck
) -> None:
    found = estimate_sending(requests, hottest, per_s=20.0, in_flight=4, latency_s=latency_s)
    assert found == (pytest.approx(seconds), bound)


def histogram(**counts: int) -> tuple[int, ...]:
    found = [0] * (len(LATENCY_BOUNDS_S) + 1)
    for place, count in counts.items():
        found[int(place[1:])] = count
    return tuple(found)


def test_a_mean_lies_between_the_bounds_of_what_was_counted() -> None:
    one = mean_latency_s([histogram(_20=7)])
    assert one is not None
    assert LATENCY_BOUNDS_S[19] < one < LATENCY_BOUNDS_S[20]
    both = mean_latency_s([histogram(_20=1), (), histogram(_10=1)])
    assert both == pytest.approx((one + one / 2**5) / 2, rel=0.01)
    assert mean_latency_s([histogram(_36=3)]) == LATENCY_BOUNDS_S[-1]  # beyond them all
    assert mean_latency_s([]) is None
    assert mean_latency_s([(), histogram()]) is None
