from __future__ import annotations

import math

import pytest

from pipeline.model import Reply
from pipeline.vendors.kit.classify import retry_after_s
from tests.scenarios.vendor import BEGAN_UTC_S, Behaviour, Course, Outage, Vendor


def told(course: Behaviour | Course, *arrivals_s: float) -> list[tuple]:
    """What becomes of each arrival: what, status, when answered."""
    vendor = Vendor(course if isinstance(course, Course) else Course(course))
    outcomes = [vendor.arrive(at_s) for at_s in arrivals_s]
    return [(each.what, each.status, round(each.answered_s, 6)) for each in outcomes]


def whats(course: Behaviour | Course, *arrivals_s: float) -> str:
    return " ".join(what for what, _, _ in told(course, *arrivals_s))


@pytest.mark.parametrize(
    ("behaviour", "arrivals_s", "expected"),
    [
        # a sliding window: in no stretch of a second more than two, refusals not counted
        (Behaviour(windows=["2/s"]), [0.0, 0.6, 0.9, 1.0, 1.5, 1.6], "ok ok limit ok limit ok"),
        # a fixed window: two at the end of a second and two at the beginning of the next
        (
            Behaviour(windows=["2/s"], window="fixed"),
            [0.9, 0.95, 0.99, 1.0, 1.01, 1.02, 2.0],
            "ok ok limit ok ok limit ok",
        ),
        # all windows hold at once
        (
            Behaviour(windows=["2/s", "3/10s"]),
            [0.0, 0.1, 0.2, 1.1, 2.2, 10.05],
            "ok ok limit ok limit ok",
        ),
        # too many in flight: the one that is answered when another arrives is in flight no more
        (
            Behaviour(most_in_flight=2, service_s=0.5),
            [0.0, 0.1, 0.2, 0.5, 0.55],
            "ok ok crowd ok crowd",
        ),
        # without work for the vendor nothing is in flight there
        (Behaviour(most_in_flight=1), [0.0, 0.0, 0.0], "ok ok ok"),
        # every third, whatever the load, and it uses nothing of a window
        (Behaviour(one_in=3, windows=["3/s"]), [0.0, 0.1, 0.2, 0.3], "ok ok chance ok"),
        # nothing stands in the way
        (Behaviour(), [0.0] * 5, "ok ok ok ok ok"),
    ],
)
def test_what_is_refused(behaviour, arrivals_s, expected):
    assert whats(behaviour, *arrivals_s) == expected


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour(windows=["1/s"]), 429),
        (Behaviour(windows=["1/s"], over=503), 503),
        (Behaviour(most_in_flight=1, service_s=1), 503),
        (Behaviour(most_in_flight=1, service_s=1, crowded=429), 429),
        (Behaviour(one_in=2), 429),
    ],
)
def test_the_status_of_a_refusal_which_comes_at_once(behaviour, expected):
    assert told(behaviour, 0.0, 0.1)[1][1:] == (expected, 0.1)


@pytest.mark.parametrize(
    ("arrivals_s", "answered_s"),
    [
        ([0.0, 0.0], [0.2, 0.2]),  # as many as there are servers wait for nobody
        ([0.0, 0.0, 0.0, 0.0, 0.0], [0.2, 0.2, 0.4, 0.4, 0.6]),  # the others queue
        ([0.0, 0.1, 0.15, 0.5], [0.2, 0.3, 0.4, 0.7]),  # in order, until the queue is gone
    ],
)
def test_beyond_the_knee_requests_queue(arrivals_s, answered_s):
    outcomes = told(Behaviour(service_s=0.2, servers=2), *arrivals_s)
    assert [at_s for _, _, at_s in outcomes] == answered_s


@pytest.mark.parametrize(
    ("how", "arrived_s", "expected"),
    [
        ("503", 5.0, ("down", 503, 5.0)),
        ("refused", 5.0, ("down", None, 5.0)),
        ("silence", 5.0, ("down", None, math.inf)),
        # what was under way when it began is lost with it
        ("503", 3.8, ("down", 503, 4.0)),
        ("refused", 3.8, ("down", None, 4.0)),
        ("silence", 3.8, ("down", None, math.inf)),
        # before and after; the end is the first moment that works
        ("503", 3.4, ("ok", 204, 3.9)),
        ("silence", 6.0, ("ok", 204, 6.5)),
    ],
)
def test_in_an_outage_nothing_gets_through(how, arrived_s, expected):
    outage = Outage(from_s=4.0, until_s=6.0, how=how)
    assert told(Course(Behaviour(service_s=0.5), outages=[outage]), arrived_s) == [expected]


@pytest.mark.parametrize(("arrived_s", "no_reply"), [(5.0, "refused"), (3.8, "reset")])
def test_a_request_that_an_outage_cut_short_may_have_arrived(arrived_s, no_reply):
    outage = Outage(from_s=4.0, until_s=6.0, how="refused")
    vendor = Vendor(Course(Behaviour(service_s=0.5), outages=[outage]))
    assert vendor.arrive(arrived_s).no_reply == no_reply


def test_it_changes_when_it_is_said_to():
    course = Course(
        Behaviour(windows=["1/s"]), [(10.0, {"windows": ["2/s"]}), (20.0, {"one_in": 1})]
    )
    assert whats(course, 9.2, 9.5, 9.9, 10.0, 10.1, 20.0) == "ok limit limit ok limit chance"


@pytest.mark.parametrize(
    ("fields", "arrived_s", "header", "waited_s"),
    [
        ({}, 0.3, None, None),
        ({"retry_after": "seconds"}, 0.3, "10", 10),  # room in 9.7 s, told in whole seconds
        ({"retry_after": "seconds"}, 9.9, "1", 1),
        ({"retry_after": "seconds", "retry_after_s": 30}, 0.3, "30", 30),
        # dates are whole seconds too; ours is read against the reply's own
        ({"retry_after": "date"}, 0.3, "Mon, 23 Nov 2026 08:00:10 GMT", 10),
        ({"retry_after": "date", "retry_after_s": 2.5}, 5.6, "Mon, 23 Nov 2026 08:00:09 GMT", 4),
    ],
)
def test_what_a_refusal_tells_of_the_time(fields, arrived_s, header, waited_s):
    vendor = Vendor(Course(Behaviour(windows=["1/10s"], **fields)))
    vendor.arrive(0.0)
    outcome = vendor.arrive(arrived_s)
    assert outcome.headers.get("retry-after") == header
    reply = Reply(429, outcome.headers, b"", received_s=BEGAN_UTC_S + arrived_s)
    assert retry_after_s(reply) == waited_s
    if outcome.wait_until_s is not None:
        assert waited_s == outcome.wait_until_s - int(arrived_s)
    else:
        assert waited_s == outcome.wait_s


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("none", {}),
        (
            "ratelimit",
            {
                "ratelimit-limit": "3, 3;w=10",
                "ratelimit-remaining": "1",
                "ratelimit-reset": "10",
            },
        ),
        (
            "structured",
            {"ratelimit-policy": '"default";q=3;w=10', "ratelimit": '"default";r=1;t=10'},
        ),
        (
            "x-ratelimit",
            {
                "x-ratelimit-limit": "3",
                "x-ratelimit-remaining": "1",
                "x-ratelimit-reset": str(int(BEGAN_UTC_S) + 14),
            },
        ),
    ],
)
def test_what_every_reply_tells_of_the_limit(headers, expected):
    vendor = Vendor(Course(Behaviour(windows=["3/10s"], headers=headers)))
    vendor.arrive(3.0)
    told = dict(vendor.arrive(4.0).headers)
    assert told.pop("date") == "Mon, 23 Nov 2026 08:00:04 GMT"
    assert told == expected


@pytest.mark.parametrize(
    ("behaviour", "per_second"),
    [
        (Behaviour(), math.inf),
        (Behaviour(windows=["50/s", "600/min"]), 10),
        (Behaviour(servers=8, service_s=0.2), 40),
        (Behaviour(most_in_flight=4, service_s=0.2), 20),
        (Behaviour(most_in_flight=4), math.inf),
        (Behaviour(servers=8, service_s=0.2, windows=["30/s"], most_in_flight=7), 30),
    ],
)
def test_the_best_that_a_vendor_allows(behaviour, per_second):
    assert behaviour.best_per_s() == pytest.approx(per_second)
