from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.sample import LATENCY_BOUNDS_S, Sample
from pipeline.ui.html.timeline import MAX_POINTS, Timelines, percentile_s

BEYOND = len(LATENCY_BOUNDS_S) + 1


def lines_of(*samples: Sample) -> Timelines:
    lines = Timelines()
    for sample in samples:
        lines.add(sample)
    return lines


def second(at_s: float, sent: int = 0, **more: object) -> Sample:
    return Sample("shop", at_s, 1.0, sent, 2, 8, **more)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=2_000),
    st.floats(0.9, 1.4),
)
def test_nothing_that_was_sent_is_lost_however_long_the_run(sent, apart_s):
    lines = lines_of(
        *(Sample("shop", at * apart_s, apart_s, each, 1, 1) for at, each in enumerate(sent, 1))
    )
    points = lines.points()["shop"]
    assert sum(point.sent for point in points) == sum(sent)
    assert len(points) <= MAX_POINTS
    starts = [point.start_s for point in points]
    assert starts == sorted(starts)
    assert points[-1].end_s <= lines.seconds + 1e-6


def test_accounts_share_an_axis():
    lines = lines_of(*(Sample(name, at, 1.0, 1, 1, 1) for at in range(1, 6) for name in ("a", "b")))
    assert lines.seconds == 5.0
    assert {name: len(points) for name, points in lines.points().items()} == {"a": 5, "b": 5}


def test_time_in_which_nothing_ran_is_left_out():
    lines = lines_of(second(100.0, 1), second(101.0, 1), second(90_000.0, 1))
    assert lines.seconds == 3.0
    ((elapsed_s, at_s, gap_s),) = lines.breaks
    assert (elapsed_s, at_s, round(gap_s)) == (2.0, 89_999.0, 89_898)


def test_a_clock_that_is_put_back_does_no_harm():
    lines = lines_of(second(100.0, 1), second(40.0, 1), second(41.0, 1))
    assert lines.seconds == 3.0
    assert lines.breaks == []


def test_what_held_in_part_of_a_point_is_told_of_it():
    first = second(1.0, 10, pause_left_s=0.25, allowed_per_s=20.0, throttled=2)
    lines = lines_of(first, second(2.0, 0, allowed_per_s=5.0, is_probing=True))
    together, other = lines.points()["shop"]
    together.merge(other)
    assert (together.paused_s, together.probing_s, together.throttled) == (0.25, 1.0, 2)
    assert (together.allowed_per_s, together.sent_per_s) == (20.0, 5.0)


def test_latencies_add_up():
    one, two = [0] * BEYOND, [0] * BEYOND
    one[3], two[3], two[-1] = 4, 1, 5
    lines = lines_of(
        second(1.0, latencies=tuple(one)), second(2.0), second(3.0, latencies=tuple(two))
    )
    counts = lines.latencies["shop"]
    assert sum(counts) == 10
    assert percentile_s(counts, 0.5) == LATENCY_BOUNDS_S[3]
    assert percentile_s(counts, 0.9) is None  # beyond the last bound
