"""Reading Xsolla back, fact by fact. The sources are named as in `pipeline/vendors/xsolla/`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Reply, Request
from pipeline.simulator.core import path_segments
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.vendor import Call
from pipeline.simulator.vendors.xsolla import VENDOR as EMULATED
from pipeline.vendors.kit.contract import MISSING, State
from pipeline.vendors.xsolla import BONUS_PROMOTION, COUPON, BonusPromotion, Coupon, XsollaSettings

SHOP = XsollaSettings(project_id=44056, api_key="simulator-key")
SMALLEST_BONUS: dict[str, Any] = {
    "promotion_id": "111425",
    "name": {"en-US": "Bonus"},
    "condition": None,
    "bonus": None,
}
SMALLEST_COUPON: dict[str, Any] = {"external_id": "coupon_44056_1", "name": {"en-US": "Coupon"}}
OPERATIONS: dict[Any, Any] = {BonusPromotion: BONUS_PROMOTION, Coupon: COUPON}
Job = BonusPromotion | Coupon


def bonus(**values: Any) -> BonusPromotion:
    return BonusPromotion.model_validate({**SMALLEST_BONUS, **values})


def coupon(**values: Any) -> Coupon:
    return Coupon.model_validate({**SMALLEST_COUPON, **values})


def state(job: Job, body: Any, status: int = 200, *, is_cut: bool = False) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OPERATIONS[type(job)].reading.state(SHOP, job, Reply(status, {}, raw, is_cut=is_cut))


def differing(job: Job, found: State) -> list[str]:
    return [d.field for d in OPERATIONS[type(job)].reading.differences(SHOP, job, found)]


# ------------------------------------------------------------------------ request and reply


def test_a_read_goes_where_the_update_went():
    for job in (bonus(), coupon(external_id="a/b c"), bonus(project_id=7)):
        operation = OPERATIONS[type(job)]
        request = operation.reading.request(SHOP, job)
        assert request.path == operation.encode(SHOP, (job,)).path
        assert (request.method, request.body) == ("GET", b"")
        assert dict(request.headers) == {"Accept": "application/json"}


NOT_FOUND = {"statusCode": 404, "errorCode": 9502, "errorMessage": "[0401-9502]: not found"}
REPLIES = [
    # SPEC, in its own words: the promotion, the coupon does not exist
    (404, NOT_FOUND, MISSING),
    (404, {"errorCode": 9802, "errorMessage": ""}, MISSING),
    # SPEC: the two codes disagree in the sample of a 404
    (404, {"errorCode": 4001, "errorMessage": "[0401-9802]: Coupon not found"}, MISSING),
    # the address was not found, which says nothing about the coupon
    (404, {"statusCode": 404, "errorCode": 0, "errorMessage": "Not Found"}, None),
    (404, b"<html>not found</html>", None),
    (404, b"", None),
    # the status has the last word: here the promotion service could not be read
    (422, {"statusCode": 404, "errorCode": 9502, "errorMessage": "x"}, None),
    (401, {"errorCode": 1020, "errorMessage": "[0401-1020]: x"}, None),
    (429, {}, None),
    (503, NOT_FOUND, None),
    (302, {"name": {"en-US": "x"}}, None),
    (204, b"", None),
    # not the vendor, or not an entity
    (200, b"<html>log in</html>", None),
    (200, {}, None),
    (200, [], None),
    (200, {"name": "a login page in JSON"}, None),
    (200, {"name": {"en-US": "x"}}, State({"name": {"en-US": "x"}})),
]


@pytest.mark.parametrize(("status", "body", "found"), REPLIES)
@pytest.mark.parametrize("job", [bonus(), coupon()], ids=["bonus", "coupon"])
def test_only_what_xsolla_itself_says_counts(job, status, body, found):
    assert state(job, body, status) == found


@pytest.mark.parametrize(
    ("job", "told", "is_ours"),
    [
        (coupon(), {"external_id": "coupon_44056_1"}, True),
        (coupon(), {"external_id": "coupon_44056_2"}, False),
        (coupon(), {"external_id": "COUPON_44056_1"}, False),
        (coupon(), {}, True),  # none: the address alone says whose it is
        (coupon(), {"external_id": None, "id": 9}, True),
        (coupon(external_id="7"), {"external_id": 7}, True),
        (bonus(), {"id": 111425}, True),
        (bonus(), {"id": "111425"}, True),
        (bonus(), {"id": 111426}, False),
        (bonus(), {}, True),
    ],
)
def test_a_reply_about_another_entity_tells_nothing(job, told, is_ours):
    assert isinstance(state(job, {"name": dict(job.name), **told}), State) is is_ours


def test_a_reply_cut_short_tells_nothing():
    whole = json.dumps({"name": {"en-US": "x"}}).encode()
    assert state(coupon(), whole, is_cut=True) is None


EVERY_DAY = {"interval_type": "daily", "time": "11:00:00+03:00"}
MONDAYS = {"interval_type": "weekly", "time": "11:00:00+03:00", "day_of_week": 1}
EXTRAS = {
    "day_of_month": None,
    "reset_next_date": 1_700_000_000,
    "displayable_reset_start_date": "2027-01-01T11:00:00+03:00",
    "displayable_reset_next_date": "2027-01-08T11:00:00+03:00",
}


def test_a_promotion_is_brought_back_into_the_shape_of_an_update():
    body = {
        "id": 111425,
        "is_enabled": True,
        "name": {"en-US": "Bonus"},
        "condition": [{"sku": "a", "name": "A", "type": "virtual_good"}],
        "bonus": [{"sku": "b", "quantity": 2, "image_url": None}],
        "date_start": None,
        "attribute_conditions": None,
        "limits": {
            "per_user": {"total": 5},
            "per_item": None,
            "recurrent_schedule": {"per_user": {**MONDAYS, **EXTRAS}},
        },
        "price_conditions": [{"operator": "ge", "value": "10.00", "currency": "USD"}],
        "excluded_promotions": [12],
        "something_new": {"since": "yesterday"},
    }
    found = state(bonus(), body)
    assert found == State(
        {
            "name": {"en-US": "Bonus"},
            "condition": [{"sku": "a"}],
            "bonus": [{"sku": "b", "quantity": 2}],
            "date_start": None,
            "limits": {"per_user": 5, "recurrent_schedule": {"per_user": MONDAYS}},
            "price_conditions": [{"operator": "ge", "value": "10.00"}],
            "excluded_promotions": [12],
        }
    )
    assert differing(bonus(**found.fields), found) == []


def test_a_coupon_is_brought_back_into_the_shape_of_an_update():
    body = {
        "name": {"en-US": "Coupon"},
        "bonus": None,
        "redeem_total_limit": 10,
        "external_id": "coupon_44056_1",
        "is_enabled": True,
        "total_limit_state": {"available": 10, "reserved": 0, "used": 0},
    }
    found = state(coupon(), body)
    assert found == State({"name": {"en-US": "Coupon"}, "bonus": None, "redeem_total_limit": 10})


# --------------------------------------------------------------- what a difference is, by field


def limits(per_user: Any = None, schedule: Any = None, **more: Any) -> dict[str, Any]:
    return {"limits": {"per_user": per_user, "recurrent_schedule": schedule, **more}}


def level(value: Any, kind: str = "number", **more: Any) -> dict[str, Any]:
    return {"attribute": "level", "operator": "eq", "value": value, "type": kind, **more}


def when(*conditions: Any) -> dict[str, Any]:
    return {"attribute_conditions": list(conditions)}


A, B = {"sku": "a"}, {"sku": "b"}
OF_BOTH = [
    # what the row wants, what a read shows, the fields that differ
    ({}, {}, []),
    # a text is what it is; a language that has none is not there
    ({"name": {"en-US": "x"}}, {"name": {"en-US": "y"}}, ["name.en-US"]),
    ({"name": {"en-US": "x"}}, {"name": {"en-US": "x", "de-DE": "y"}}, ["name.de-DE"]),
    ({"name": {"en-US": "x", "de-DE": "y"}}, {"name": {"en-US": "x"}}, ["name.de-DE"]),
    ({"name": {"en-US": "x"}}, {"name": {"en-US": "x", "de-DE": None}}, []),
    ({"name": {"en-US": "x", "de-DE": "y"}}, {"name": {"de-DE": "y", "en-US": "x"}}, []),
    ({"name": {"en-US": "1"}}, {"name": {"en-US": "1.0"}}, ["name.en-US"]),
    # rewards: no order; quantity 1 by default; null equals an empty list
    ({"bonus": [A, B]}, {"bonus": [B, A]}, []),
    ({"bonus": [A]}, {"bonus": [{**A, "quantity": 1}]}, []),
    ({"bonus": [{**A, "quantity": 1}]}, {"bonus": [{**A, "quantity": None}]}, []),
    ({"bonus": [{**A, "quantity": 2.0}]}, {"bonus": [{**A, "quantity": 2}]}, []),
    ({"bonus": [{**A, "quantity": 0}]}, {"bonus": [{**A, "quantity": 1}]}, ["bonus"]),
    ({"bonus": [A]}, {"bonus": [A, A]}, ["bonus"]),
    ({"bonus": [A]}, {"bonus": [A, B]}, ["bonus"]),
    ({"bonus": None}, {"bonus": []}, []),
    ({"bonus": []}, {}, []),
    ({"bonus": None}, {"bonus": [A]}, ["bonus"]),
    # dates: their instant; null and left out: none
    (
        {"date_start": "2027-06-01T00:00:00+02:00"},
        {"date_start": "2027-05-31T22:00:00Z"},
        [],
    ),
    ({"date_end": "2027-06-01T00:00:00Z"}, {"date_end": "2027-06-01T00:00:01Z"}, ["date_end"]),
    ({"date_end": "2027-06-01T00:00:00Z"}, {"date_end": None}, ["date_end"]),
    ({"date_end": None}, {}, []),
    ({}, {"date_end": None}, []),
    ({}, {"date_end": "2027-06-01T00:00:00Z"}, ["date_end"]),
    # conditions: all must hold, so that neither order nor repetition counts
    (when(level("1"), level("2")), when(level("2"), level("1"), level("1")), []),
    (when(level("1")), when(level("1.0")), []),
    (when(level("1", "string")), when(level("1.0", "string")), ["attribute_conditions"]),
    (
        when(level("2027-01-01T00:00:00Z", "date")),
        when(level("2027-01-01T01:00:00+01:00", "date")),
        [],
    ),
    (when(level("1")), when(level("1", can_be_missing=False)), []),
    (when(level("1")), when(level("1", can_be_missing=None)), []),
    (when(level("1")), when(level("1", can_be_missing=True)), ["attribute_conditions"]),
    (when(level("1")), when(level("1"), level("2")), ["attribute_conditions"]),
    ({}, {"attribute_conditions": []}, []),
    ({}, {"attribute_conditions": None}, []),
    ({}, when(level("1")), ["attribute_conditions"]),
]
OF_BONUS = [
    # any purchase is null; what an empty list is, nobody says
    ({"condition": None}, {}, []),
    ({"condition": None}, {"condition": []}, ["condition"]),
    ({"condition": []}, {"condition": None}, ["condition"]),
    ({"condition": [A, B]}, {"condition": [B, A]}, []),
    ({"condition": [A]}, {"condition": [A, A]}, ["condition"]),
    # older reads show a number, later ones an object
    (limits(5), limits(5), []),
    (limits(5), limits({"total": 5}), []),
    (limits(5), limits({"total": 5.0}, per_item={"total": 1}), []),
    (limits(5), limits({"total": 6}), ["limits.per_user"]),
    (limits(5), limits(), ["limits.per_user"]),
    (limits(5), {"limits": None}, ["limits.per_user"]),
    (limits(5), {}, ["limits.per_user"]),
    ({}, limits({"total": 5}), ["limits.per_user"]),
    ({}, limits({"total": None}), []),
    (limits(), {}, []),
    ({"limits": {}}, limits(), []),
    ({"limits": {"recurrent_schedule": {}}}, limits(), []),
    ({}, {"limits": 7}, ["limits"]),
    # a schedule: its kind, its day, its time of day
    (limits(None, {"per_user": EVERY_DAY}), limits(None, {"per_user": EVERY_DAY}), []),
    (
        limits(None, {"per_user": EVERY_DAY}),
        limits(None, {"per_user": {**EVERY_DAY, **EXTRAS, "day_of_week": None}}),
        [],
    ),
    (
        limits(None, {"per_user": EVERY_DAY}),
        limits(None, {"per_user": {**EVERY_DAY, "time": "08:00:00+00:00"}}),
        [],
    ),
    (
        limits(None, {"per_user": EVERY_DAY}),
        limits(None, {"per_user": {**EVERY_DAY, "time": "12:00:00+03:00"}}),
        ["limits.recurrent_schedule"],
    ),
    (
        limits(None, {"per_user": MONDAYS}),
        limits(None, {"per_user": {**MONDAYS, "day_of_week": 2}}),
        ["limits.recurrent_schedule"],
    ),
    (
        limits(None, {"per_user": MONDAYS}),
        limits(None, {"per_user": {**EVERY_DAY, "day_of_week": 1}}),
        ["limits.recurrent_schedule"],
    ),
    (limits(None, {"per_user": MONDAYS}), limits(), ["limits.recurrent_schedule"]),
    ({}, limits(None, {"per_user": EVERY_DAY}), ["limits.recurrent_schedule"]),
    ({}, limits(None, {"per_user": {"interval_type": ["daily"]}}), ["limits.recurrent_schedule"]),
    # prices: their value, in whatever order
    (
        {"price_conditions": [{"operator": "ge", "value": "10"}]},
        {"price_conditions": [{"operator": "ge", "value": "10.00"}]},
        [],
    ),
    (
        {"price_conditions": [{"operator": "ge", "value": "10"}]},
        {"price_conditions": [{"operator": "gt", "value": "10"}]},
        ["price_conditions"],
    ),
    ({"price_conditions": []}, {"price_conditions": None}, []),
    ({}, {"price_conditions": []}, []),
    # a promotion is excluded or it is not
    ({"excluded_promotions": [1, 2]}, {"excluded_promotions": [2, 1, 1]}, []),
    ({"excluded_promotions": [1, 2]}, {"excluded_promotions": [1]}, ["excluded_promotions"]),
    ({"excluded_promotions": []}, {}, []),
    ({}, {"excluded_promotions": [1]}, ["excluded_promotions"]),
    ({"excluded_promotions": [1]}, {"excluded_promotions": "1"}, ["excluded_promotions"]),
]
OF_COUPON = [
    ({"redeem_user_limit": 1}, {"redeem_user_limit": 1.0}, []),
    ({"redeem_user_limit": 1}, {"redeem_user_limit": True}, ["redeem_user_limit"]),
    ({"redeem_user_limit": 1}, {"redeem_user_limit": None}, ["redeem_user_limit"]),
    ({"redeem_user_limit": None}, {}, []),
    ({"redeem_user_limit": None}, {"redeem_user_limit": 10}, ["redeem_user_limit"]),
    # whatever Xsolla makes of a limit that is left out
    ({}, {"redeem_user_limit": 10, "redeem_total_limit": None}, []),
]


@pytest.mark.parametrize(
    ("make", "wanted", "found", "fields"),
    [(make, *row) for make in (bonus, coupon) for row in OF_BOTH]
    + [(bonus, *row) for row in OF_BONUS]
    + [(coupon, *row) for row in OF_COUPON],
)
def test_what_differs_is_named_as_people_write_it(make, wanted, found, fields):
    job = make(**wanted)
    assert differing(job, state(job, {"name": dict(job.name), **found})) == fields


UNNAMED = [
    # what the row sends, what a read shows of it
    (bonus, {"bonus": [{"sku": "x", "quantity": 1, "skus": 2}]}),
    (bonus, {"condition": [{"sku": "x", "quantity": 1}]}),
    (bonus, {"limits": {"per_user": 5, "per_item": 2}}),
    (bonus, {"limits": {"recurrent_schedule": {"per_item": {"a": 1}}}}),
]


@pytest.mark.parametrize(("make", "wanted"), UNNAMED)
def test_members_that_no_source_names_make_no_difference(make, wanted):
    job = make(**wanted)
    for found in (wanted, {name: _named(value) for name, value in wanted.items()}):
        held = state(job, {"name": dict(job.name), **found})
        assert differing(job, held) == []
        change = OPERATIONS[type(job)].change
        assert change.differences(SHOP, change.after(SHOP, job, held), held) == ()


def _named(value: Any) -> Any:
    """`value` as a vendor shows it that dropped what it does not know."""
    if isinstance(value, list):
        return [_named(item) for item in value]
    known = ("sku", "per_user")
    return {name: inner for name, inner in value.items() if name in known}


def test_a_difference_gives_both_values():
    (found,) = BONUS_PROMOTION.reading.differences(
        SHOP,
        bonus(**limits(5)),
        state(bonus(), {"name": {"en-US": "Bonus"}, **limits({"total": 6})}),
    )
    assert found == ("limits.per_user", 5, 6, True)


# --------------------------------------------------------------- what the simulator gives back


class StateCache:
    """What the emulated vendor remembers."""

    def __init__(self) -> None:
        self.entities: dict[tuple[str, str, str], dict[str, Any]] = {}

    def get(self, *key: str) -> dict[str, Any] | None:
        return self.entities.get(key)

    def put(self, kind: str, scope: str, entity_id: str, body: dict[str, Any]) -> None:
        self.entities[kind, scope, entity_id] = body


SIGNED = "Basic " + base64.b64encode(b"44056:simulator-key").decode()


def answered(shelf: Any, request: Request) -> Reply:
    headers = {name.lower(): value for name, value in request.headers.items()}
    call = Call(
        request.method, {**headers, "authorization": SIGNED}, request.body, "t", 1_800_000_000.0
    )
    target = EMULATED.locate(path_segments(request.path, ""), call)
    answer = EMULATED.answer(SimulatorOptions(), shelf, call, target)
    return Reply(answer.status, answer.headers, answer.body)


def read_after(job: Job) -> State:
    """What is read once the job was sent."""
    shelf, operation = StateCache(), OPERATIONS[type(job)]
    assert answered(shelf, operation.encode(SHOP, (job,))).status == 204
    found = operation.reading.state(
        SHOP, job, answered(shelf, operation.reading.request(SHOP, job))
    )
    assert isinstance(found, State)
    return found


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ITEMS = st.fixed_dictionaries({}, optional={"sku": TEXTS})
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9)
REWARDS = st.fixed_dictionaries({}, optional={"sku": TEXTS, "quantity": NUMBERS})
DATES = (
    st.datetimes()
    .map(lambda at: at.isoformat()[:19])
    .flatmap(
        lambda text: st.sampled_from(["Z", "+05:00", "-11:30"]).map(lambda offset: text + offset)
    )
)
TIMES = st.sampled_from(["00:00:00+00:00", "11:00:00+03:00", "23:00:00-11:30"])
INTERVALS = st.one_of(
    st.builds(lambda t: {"interval_type": "daily", "time": t}, TIMES),
    st.builds(
        lambda t, day: {"interval_type": "weekly", "time": t, "day_of_week": day},
        TIMES,
        st.integers(1, 7),
    ),
    st.builds(
        lambda t, day: {"interval_type": "monthly", "time": t, "day_of_month": day},
        TIMES,
        st.integers(1, 31),
    ),
)
CONDITIONS = st.sampled_from(["string", "date", "number"]).flatmap(
    lambda kind: st.lists(
        st.fixed_dictionaries(
            {
                "attribute": st.sampled_from(["level", "country.1", "-_."]),
                "operator": st.sampled_from(["eq", "ne"]),
                "value": TEXTS | st.sampled_from(["1", "1.0", "2027-01-01T00:00:00Z"]),
                "type": st.just(kind),
            },
            optional={"can_be_missing": st.booleans()},
        ),
        min_size=1,
        max_size=4,
    )
)
PRICES = st.lists(
    st.builds(
        lambda operator, value: {"operator": operator, "value": value},
        st.sampled_from(["ge", "gt", "le", "lt", "eq", "ne"]),
        st.from_regex(r"\A[0-9]{1,4}(\.[0-9]{1,4})?\Z"),
    ),
    max_size=3,
)
WHOLE = st.none() | st.integers(-(2**63), 2**63 - 1)
NAME = st.dictionaries(st.sampled_from(["en-US", "de-DE", "fr-FR"]), TEXTS, min_size=1)
SHARED = {
    "date_start": st.none() | DATES,
    "attribute_conditions": CONDITIONS,
}
BONUSES = st.fixed_dictionaries(
    {
        "name": NAME,
        "condition": st.none() | st.lists(ITEMS, max_size=3),
        "bonus": st.none() | st.lists(REWARDS, max_size=3),
    },
    optional={
        **SHARED,
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "per_user": WHOLE,
                "recurrent_schedule": st.none() | st.builds(lambda i: {"per_user": i}, INTERVALS),
            },
        ),
        "price_conditions": st.none() | PRICES,
        "excluded_promotions": st.lists(st.integers(-5, 5), max_size=4),
    },
).map(lambda values: bonus(**values))
COUPONS = st.fixed_dictionaries(
    {"name": NAME},
    optional={
        **SHARED,
        "bonus": st.none() | st.lists(REWARDS, max_size=3),
        "redeem_total_limit": WHOLE,
        "redeem_user_limit": WHOLE,
        "redeem_code_limit": WHOLE,
    },
).map(lambda values: coupon(**values))


@given(BONUSES | COUPONS)
def test_what_was_sent_is_what_is_read(job):
    assert differing(job, read_after(job)) == []


@given(BONUSES | COUPONS)
def test_what_is_read_can_be_sent_and_is_read_again(job):
    found = read_after(job)
    address = {n: getattr(job, n) for n in ("promotion_id", "external_id") if hasattr(job, n)}
    again = type(job).model_validate({**address, **found.fields})
    assert differing(again, found) == []
    assert differing(job, read_after(again)) == []


# Values that no job above can have.
OTHERS: Mapping[str, Any] = {
    "name.it-IT": "altro",
    "condition": [{"sku": "one that none of them has"}],
    "bonus": [{"sku": "one that none of them has"}],
    "date_start": "1999-12-31T23:59:59.25Z",
    "attribute_conditions": [level("one that none of them has", "string")],
    "limits.per_user": -(2**63) + 7,
    "limits.recurrent_schedule": {"per_user": {**MONDAYS, "time": "17:00:00+04:45"}},
    "price_conditions": [{"operator": "eq", "value": "99999"}],
    "excluded_promotions": [6],
    "redeem_total_limit": -(2**63) + 7,
    "redeem_user_limit": -(2**63) + 7,
    "redeem_code_limit": -(2**63) + 7,
}


def changed(job: Job, place: str) -> Job:
    """The same but for one field, or one member of it."""
    name, _, member = place.partition(".")
    values = job.given()
    values[name] = {**values.get(name, {}), member: OTHERS[place]} if member else OTHERS[place]
    return type(job).model_validate(values)


@given(BONUSES | COUPONS, st.data())
def test_one_field_that_differs_is_reported_and_no_other(job, data):
    places = [place for place in OTHERS if place.partition(".")[0] in type(job).model_fields]
    place = data.draw(st.sampled_from(places))
    other = changed(job, place)
    assert differing(other, read_after(job)) == [place]
    # an omitted redeem limit may have become anything
    is_left_out = place.startswith("redeem") and place not in job.model_fields_set
    assert differing(job, read_after(other)) == ([] if is_left_out else [place])
