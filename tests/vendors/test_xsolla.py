"""Xsolla's two updates, fact by fact. The sources are named as in `pipeline/vendors/xsolla/`."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.model import Effect, NoReply, Reply, UpdateJob, Verdict
from pipeline.vendors.kit.classify import HINT_IN_DOUBT
from pipeline.vendors.xsolla import (
    BONUS_PROMOTION,
    COUPON,
    VENDOR,
    BonusPromotion,
    Coupon,
    XsollaSettings,
)

SHOP = XsollaSettings(project_id=44056, api_key="k-very-secret")
SMALLEST_COUPON: dict[str, Any] = {"external_id": "coupon_44056_1", "name": {"en-US": "Coupon"}}
SMALLEST_BONUS: dict[str, Any] = {
    "promotion_id": "111425",
    "name": {"en-US": "Bonus"},
    "condition": None,
    "bonus": None,
}


def coupon(**values: Any) -> Coupon:
    return Coupon.model_validate({**SMALLEST_COUPON, **values})


def bonus(**values: Any) -> BonusPromotion:
    return BonusPromotion.model_validate({**SMALLEST_BONUS, **values})


def is_accepted(job_type: type[UpdateJob], values: dict[str, Any]) -> bool:
    try:
        job_type.model_validate(values)
    except ValidationError:
        return False
    return True


def complaints(job_type: type[UpdateJob], values: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by place."""
    with pytest.raises(ValidationError) as caught:
        job_type.model_validate(values)
    return {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}


# --------------------------------------------------------------------------- what a field may be


def when(operator: str, kind: str, attribute: str = "level", value: Any = "1") -> dict[str, Any]:
    return {"attribute": attribute, "operator": operator, "value": value, "type": kind}


def every(interval: str, time: str = "11:00:00+03:00", **day: Any) -> dict[str, Any]:
    schedule = {"interval_type": interval, "time": time, **day}
    return {"recurrent_schedule": {"per_user": schedule}}


def price(operator: Any, value: Any) -> list[dict[str, Any]]:
    return [{"operator": operator, "value": value}]


NAMES = [
    # BONUS, COUPON: a locale as key, a text as value
    ({"en-US": "x"}, True),
    ({"en-US": "x", "de-DE": "{curly} braces"}, True),
    ({"en-US": ""}, True),
    ({"en": "x"}, False),
    ({"en_US": "x"}, False),
    ({"EN-us": "x"}, False),
    ({"eng-US": "x"}, False),
    ({"en-US\n": "x"}, False),
    ({"en-US": None}, False),
    ({"en-US": 5}, False),
    # "must be made of key/value pairs", and nobody says of how many
    ({}, True),
    (None, False),
    ("x", False),
    ([], False),
    # half a character has no UTF-8
    ({"en-US": "\ud800"}, False),
]
REWARDS = [
    # BONUS, COUPON: array or null
    (None, True),
    ([], True),
    ([{"sku": "elven_shield", "quantity": 2}], True),
    # neither member is marked as required
    ([{"sku": "elven_shield"}], True),
    ([{"quantity": 1}], True),
    ([{}], True),
    # number, not integer
    ([{"sku": "x", "quantity": 1.5}], True),
    # no range is stated
    ([{"sku": "x", "quantity": 0}], True),
    ([{"sku": "x", "quantity": "1"}], False),
    ([{"sku": "x", "quantity": True}], False),
    ([{"sku": "x", "quantity": None}], False),
    ([{"sku": "x", "quantity": float("nan")}], False),
    ([{"sku": "x", "quantity": 2**63}], False),
    ([{"sku": 7}], False),
    # no source forbids other members
    ([{"SKU": "x"}], True),
    ([{"sku": "x", "note": {"a": [1, None]}}], True),
    ([{"sku": "x", "note": 2**63}], False),
    ([{"sku": "x", "note": float("inf")}], False),
    ([{"sku": "x", "note": "\udfff"}], False),
    ([{"sku": "x", "\udfff": 1}], False),
    ([["x"]], False),
    ({"sku": "x"}, False),
    ([{"sku": "\udfff"}], False),
]
DATES = [
    # BONUS, COUPON: date-time with offset, or null
    (None, True),
    ("2020-04-15T18:16:00+05:00", True),
    ("2020-04-15T18:16:00Z", True),
    ("2020-04-15T18:16:00.123456789-00:30", True),
    ("2020-02-29T00:00:00Z", True),
    ("2021-02-29T00:00:00Z", False),
    ("2020-04-15", False),
    ("2020-04-15T18:16:00", False),
    ("2020-04-15T24:00:00Z", False),
    ("2020-04-15T18:16:60Z", False),
    ("2020-04-15T18:16:00+24:00", False),
    ("2020-04-15T18:16:00,5Z", False),
    ("2020-W16-3T18:16:00Z", False),
    ("15.04.2020 18:16:00Z", False),
    (46353, False),
    ("", False),
]
LIMITS_OF_COUPONS = [
    # an integer or null, says COUPON
    (10, True),
    (0, True),
    (None, True),
    (2**63 - 1, True),
    (2**63, False),
    (10.0, False),
    ("10", False),
    (True, False),
]
CONDITIONS_ON_ATTRIBUTES = [
    # BONUS: text compares with eq and ne
    ([when("eq", "string")], True),
    ([when("ne", "string")], True),
    ([when("lt", "string")], False),
    # SPEC: dates with er lt ee le beside these
    ([when(operator, "date") for operator in ("eq", "ne", "er", "lt", "ee", "le")], True),
    ([when("gt", "date")], False),
    ([when("ge", "date")], False),
    # SPEC reuses these for numbers, FILTER has gt and ge: loosely
    ([when(o, "number") for o in ("eq", "ne", "er", "lt", "ee", "le", "gt", "ge")], True),
    ([when("like", "number")], False),
    # BONUS: three lists of one kind each
    ([when("eq", "string"), when("eq", "date")], False),
    ([when("eq", "number"), when("eq", "string")], False),
    ([when("eq", "boolean")], False),
    # BONUS: 1 to 100
    ([], False),
    ([when("eq", "string")] * 100, True),
    ([when("eq", "string")] * 101, False),
    # not marked as nullable
    (None, False),
    ({}, False),
    (["x"], False),
    ([[when("eq", "string")]], False),  # an array of arrays belongs to item promotions
    # can_be_missing is boolean and optional, says BONUS
    ([when("eq", "string") | {"can_be_missing": False}], True),
    ([when("eq", "string") | {"can_be_missing": "false"}], False),
    # BONUS: attribute 1..255 of [-_.\d\w]
    ([when("eq", "string", "a-b_c.9")], True),
    ([when("eq", "string", "a" * 255)], True),
    ([when("eq", "string", "a" * 256)], False),
    ([when("eq", "string", "")], False),
    ([when("eq", "string", "a b")], False),
    ([when("eq", "string", "a\n")], False),
    # that `\w` is ASCII is inferred: it warns
    ([when("eq", "string", "größe")], True),
    # SPEC: value is text of at most 255, also of dates and numbers
    ([when("eq", "string", value="")], True),
    ([when("eq", "string", value="x" * 255)], True),
    ([when("eq", "string", value="x" * 256)], False),
    ([when("eq", "number", value=5)], False),
    # BONUS: all four are required
    *(
        ([{k: v for k, v in when("eq", "string").items() if k != left_out}], False)
        for left_out in ("attribute", "operator", "value", "type")
    ),
    ([when("eq", "string") | {"unknown": 1}], True),
    ([when("eq", "date") | {"unknown": 1}, when("ne", "date")], True),
    ([when("eq", "number") | {"unknown": {}}], True),
]
CONDITIONS = [
    # BONUS: array of {sku} or null
    (None, True),
    ([], True),
    ([{"sku": "elven_sword"}], True),
    ([{}], True),
    ([{"sku": None}], False),
    ([{"sku": "x", "quantity": 1}], True),
    ("elven_sword", False),
]
LIMITS = [
    # an integer or null, an object or null, says BONUS
    ({}, True),
    ({"per_user": 5}, True),
    ({"per_user": None, "recurrent_schedule": None}, True),
    ({"per_user": "5"}, False),
    ({"per_user": {"total": 5}}, False),  # what GET returns
    ({"per_item": None}, True),
    (None, False),
    ({"recurrent_schedule": {}}, True),
    ({"recurrent_schedule": {"per_user": None}}, False),
    # BONUS shows daily, SPEC weekly and monthly
    (every("daily"), True),
    (every("weekly", day_of_week=1), True),
    (every("weekly", day_of_week=7), True),
    (every("monthly", day_of_month=1), True),
    (every("monthly", day_of_month=31), True),
    (every("hourly"), False),
    (every("weekly"), False),
    (every("monthly"), False),
    (every("weekly", day_of_week=0), False),
    (every("weekly", day_of_week=8), False),
    (every("monthly", day_of_month=32), False),
    (every("daily", day_of_week=1), True),
    (every("weekly", day_of_month=1), False),
    (every("weekly", day_of_week=1, day_of_month=None, reset_next_date=1711904400), True),
    ({"recurrent_schedule": {"per_item": None}}, True),
    # SPEC: the time pattern, whole hours, the offset given, no Z
    (every("daily", "00:00:00-12:30"), True),
    (every("daily", "23:00:00+23:59"), True),
    (every("daily", "24:00:00+03:00"), False),
    (every("daily", "11:30:00+03:00"), False),
    (every("daily", "11:00:00Z"), False),
    (every("daily", "11:00:00"), False),
    (every("daily", "11:00+03:00"), False),
    (every("daily", "\ud80011:00:00+03:00"), False),  # no UTF-8 can hold it
    # the pattern has no anchors: it warns
    (every("daily", "2020-04-15T11:00:00+03:00"), True),
]
PRICES = [
    # BONUS: array or null, six operators
    (None, True),
    ([], True),
    *((price(operator, "10"), True) for operator in ("ge", "gt", "le", "lt", "eq", "ne")),
    (price("er", "10"), False),
    (price(None, "10"), False),
    # BONUS: value is text, ^\d+(\.\d{1,4})?$
    (price("ge", "0.0001"), True),
    (price("ge", "0.00001"), False),
    (price("ge", "-1"), False),
    (price("ge", ".5"), False),
    (price("ge", "5."), False),
    (price("ge", "5\n"), False),
    (price("ge", "\u0665"), False),
    (price("ge", 10), False),
    ([{**price("ge", "1")[0], "currency": "USD"}], True),
    ([{"operator": "ge"}], False),
    ([{"value": "1"}], False),
]
EXCLUDED = [
    # BONUS: array of integers
    ([12, 789], True),
    ([], True),
    (["12"], False),
    ([1.0], False),
    ([2**64], False),
    (None, False),
]
PROMOTION_IDS = [
    # BONUS: integer, in the path
    ("111425", True),
    (111425, True),
    ("007", True),
    ("111425.0", False),
    ("1E5", False),
    ("", False),
    ("\u0667", False),
    ("../x", False),
    (str(2**63 - 1), True),
    (str(2**63), False),
    ("9" * 20, False),
    (True, False),
    (None, False),
]
EXTERNAL_IDS = [
    # COUPON: the example is text
    ("coupon_44056_1", True),
    ("a/b?c#d", True),
    ("...", True),
    # no URL can name these
    ("", False),
    (".", False),
    ("..", False),
    (7, False),
    (None, False),
    ("\ud800", False),
]

TABLES = [
    (Coupon, SMALLEST_COUPON, "external_id", EXTERNAL_IDS),
    (Coupon, SMALLEST_COUPON, "name", NAMES),
    (Coupon, SMALLEST_COUPON, "bonus", REWARDS),
    (Coupon, SMALLEST_COUPON, "date_start", DATES),
    (Coupon, SMALLEST_COUPON, "date_end", DATES),
    (Coupon, SMALLEST_COUPON, "redeem_total_limit", LIMITS_OF_COUPONS),
    (Coupon, SMALLEST_COUPON, "redeem_user_limit", LIMITS_OF_COUPONS),
    (Coupon, SMALLEST_COUPON, "redeem_code_limit", LIMITS_OF_COUPONS),
    (Coupon, SMALLEST_COUPON, "attribute_conditions", CONDITIONS_ON_ATTRIBUTES),
    (BonusPromotion, SMALLEST_BONUS, "promotion_id", PROMOTION_IDS),
    (BonusPromotion, SMALLEST_BONUS, "project_id", PROMOTION_IDS),
    (BonusPromotion, SMALLEST_BONUS, "name", NAMES),
    (BonusPromotion, SMALLEST_BONUS, "condition", CONDITIONS),
    (BonusPromotion, SMALLEST_BONUS, "bonus", REWARDS),
    (BonusPromotion, SMALLEST_BONUS, "date_start", DATES),
    (BonusPromotion, SMALLEST_BONUS, "date_end", DATES),
    (BonusPromotion, SMALLEST_BONUS, "attribute_conditions", CONDITIONS_ON_ATTRIBUTES),
    (BonusPromotion, SMALLEST_BONUS, "limits", LIMITS),
    (BonusPromotion, SMALLEST_BONUS, "price_conditions", PRICES),
    (BonusPromotion, SMALLEST_BONUS, "excluded_promotions", EXCLUDED),
]


@pytest.mark.parametrize(
    ("job_type", "least", "field", "table"), TABLES, ids=[f"{t[0].__name__}.{t[2]}" for t in TABLES]
)
def test_a_field_takes_what_the_sources_say(job_type, least, field, table):
    found = [(value, is_accepted(job_type, {**least, field: value})) for value, _ in table]
    assert found == table


def test_every_field_has_its_table():
    for job_type in (Coupon, BonusPromotion):
        covered = {field for of_type, _, field, _ in TABLES if of_type is job_type}
        assert covered | {"project_id"} == set(job_type.model_fields)


REQUIRED = [
    # BONUS marks three, the path needs the id; COUPON marks name only
    (BonusPromotion, {"promotion_id", "name", "condition", "bonus"}),
    (Coupon, {"external_id", "name"}),
]


@pytest.mark.parametrize(("job_type", "required"), REQUIRED)
def test_what_a_row_must_give(job_type, required):
    assert set(complaints(job_type, {})) == required


def test_the_body_has_no_id_and_no_activation():
    assert not is_accepted(BonusPromotion, {**SMALLEST_BONUS, "id": 111425})
    assert not is_accepted(BonusPromotion, {**SMALLEST_BONUS, "is_enabled": True})
    assert not is_accepted(Coupon, {**SMALLEST_COUPON, "is_enabled": True})


ORDERS = [
    # moments, not texts: 10:00 at +02:00 is 08:00Z. The sample of COUPON has the same moment twice
    ("2020-04-15T10:00:00+02:00", "2020-04-15T09:00:00Z", ()),
    ("2020-04-15T10:00:00Z", "2020-04-15T11:00:00+02:00", ("date_end: before date_start",)),
    ("2020-04-15T10:00:00Z", "2020-04-14T10:00:00Z", ("date_end: before date_start",)),
    (
        "2020-04-15T18:16:00+05:00",
        "2020-04-15T18:16:00+05:00",
        ("date_end: the same moment as date_start",),
    ),
    # one of them open
    (None, "2020-04-15T18:16:00Z", ()),
    ("2020-04-15T18:16:00Z", None, ()),
    # the edges of the calendar
    ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", ()),
]


@pytest.mark.parametrize(("start", "end", "doubts"), ORDERS)
def test_an_end_that_is_not_after_the_start_warns_and_is_sent(start, end, doubts):
    job = coupon(date_start=start, date_end=end)
    assert COUPON.warn(job) == doubts
    assert json.loads(COUPON.encode(SHOP, (job,)).body)["date_end"] == end


WRITTEN_DATES = [
    # text as given, with its own offset; only the form becomes RFC 3339
    ("2020-04-15T18:16:00+05:00", "2020-04-15T18:16:00+05:00"),
    ("2020-04-15 18:16:00+05:00", "2020-04-15T18:16:00+05:00"),
    ("2020-04-15t18:16:00z", "2020-04-15T18:16:00Z"),
    ("2020-04-15T18:16:00+0530", "2020-04-15T18:16:00+05:30"),
    ("2020-04-15T18:16:00-05", "2020-04-15T18:16:00-05:00"),
    ("2020-04-15T18:16Z", "2020-04-15T18:16:00Z"),
    ("2020-04-15T18:16:00.120Z", "2020-04-15T18:16:00.120Z"),
]


@pytest.mark.parametrize(("written", "sent"), WRITTEN_DATES)
def test_dates_are_sent_with_their_own_offset(written, sent):
    job = coupon(date_start=written, date_end=None)
    assert job.given()["date_start"] == sent
    assert coupon(date_start=sent).given()["date_start"] == sent


WORDS = [
    # each complaint by itself, with its place in the cell
    (
        Coupon,
        "bonus",
        [{"sku": "x"}, {"sku": 1, "quantity": "2"}],
        {
            "bonus.1.quantity": "expected a number of at most 64 bits (item 2, quantity)",
            "bonus.1.sku": "expected text (item 2, sku)",
        },
    ),
    # a key has its own column
    (Coupon, "name", {"en": "x"}, {"name.en": "expected a locale, as en-US or de-DE (en)"}),
    (Coupon, "name", {"en-US": 5}, {"name.en-US": "expected text (en-US)"}),
    # braces are text, not a template
    (Coupon, "name", {"{x}": "x"}, {"name.{x}": "expected a locale, as en-US or de-DE ({x})"}),
    # the trap: in price_conditions lt means less, here it means later
    (
        Coupon,
        "attribute_conditions",
        [when("gt", "date")],
        {
            "attribute_conditions.0.operator": (
                "expected 'eq', 'ne', 'er', 'lt', 'ee' or 'le' (item 1, operator)"
            )
        },
    ),
    (
        Coupon,
        "attribute_conditions",
        [when("eq", "string"), when("eq", "date")],
        {"attribute_conditions.1.type": "expected 'string' (item 2, type)"},
    ),
    (
        Coupon,
        "attribute_conditions",
        [],
        {
            "attribute_conditions": (
                "expected 1 to 100 conditions, all of one type: string, date or number"
            )
        },
    ),
    (
        BonusPromotion,
        "limits",
        every("weekly", day_of_week=9),
        {
            "limits.recurrent_schedule.per_user.day_of_week": (
                "expected 7 or less (recurrent_schedule, per_user, day_of_week)"
            )
        },
    ),
    (
        BonusPromotion,
        "limits",
        every("daily", "11:30:00Z"),
        {
            "limits.recurrent_schedule.per_user.time": (
                "expected a full hour with its offset, as in 11:00:00+03:00 "
                "(recurrent_schedule, per_user, time)"
            )
        },
    ),
    (
        BonusPromotion,
        "promotion_id",
        "x",
        {"promotion_id": "expected a whole number of at most 64 bits, as in 111425"},
    ),
]


@pytest.mark.parametrize(("job_type", "field", "value", "told"), WORDS)
def test_a_complaint_names_the_place_and_what_is_expected(job_type, field, value, told):
    least = SMALLEST_COUPON if job_type is Coupon else SMALLEST_BONUS
    assert complaints(job_type, {**least, field: value}) == told


def test_all_faults_of_a_row_are_reported_at_once():
    wrong = {
        "external_id": "..",
        "name": {"x": "y"},
        "date_start": "x",
        "bonus": 1,
        "colour": "red",
    }
    assert {place.split(".")[0] for place in complaints(Coupon, wrong)} == set(wrong)


# ------------------------------------------------------------------------ doubts, never a refusal

DOUBTS = [
    # nothing to say
    (bonus(), ()),
    (bonus(price_conditions=price("ge", "1")), ()),
    # V3 has an alphabet for ids, version 2 has none
    (coupon(external_id="über"), ("external_id",)),
    # BONUS says one thing, the sample of SPEC does another
    (
        bonus(condition=[{"sku": "x"}], price_conditions=price("ge", "1")),
        ("price_conditions",),
    ),
    # SPEC and FILTER read lt in two ways
    (coupon(attribute_conditions=[when("lt", "number")]), ("attribute_conditions",)),
    (coupon(attribute_conditions=[when("eq", "number")]), ()),
    (coupon(attribute_conditions=[when("lt", "date")]), ()),
    # JavaScript's `\w` is ASCII
    (coupon(attribute_conditions=[when("eq", "string", "größe")]), ("attribute_conditions",)),
    # the sample of COUPON has it so
    (
        coupon(date_start="2020-04-15T10:00:00+02:00", date_end="2020-04-15T08:00:00Z"),
        ("date_end",),
    ),
    # neither sku nor a range of quantity is stated
    (coupon(bonus=[{"quantity": 1}]), ("bonus",)),
    (coupon(bonus=[{"sku": "x", "quantity": -1}]), ("bonus",)),
    (bonus(condition=[{}]), ("condition",)),
    # the pattern is found inside
    (bonus(limits=every("daily", "x11:00:00+03:00")), ("limits.recurrent_schedule",)),
    (bonus(limits=every("daily")), ()),
    (bonus(limits={"recurrent_schedule": None}), ()),
    # integer says the source, positive says reason
    (bonus(promotion_id="-5"), ("promotion_id",)),
    # BONUS, COUPON: pairs of locale and text; that there is one, nobody says
    (coupon(name={}), ("name",)),
    # no source forbids members that it does not name
    (coupon(bonus=[{"sku": "x"}, {"sku": "y", "skus": 1, "a": 1}]), ("bonus",)),
    (bonus(condition=[{"sku": "x", "quantity": 1}]), ("condition",)),
    (
        coupon(attribute_conditions=[when("eq", "date") | {"unknown": 1}]),
        ("attribute_conditions",),
    ),
    (bonus(price_conditions=[{**price("ge", "1")[0], "currency": "USD"}]), ("price_conditions",)),
    (bonus(limits={"per_item": None}), ("limits",)),
    (
        bonus(limits={"recurrent_schedule": {"per_item": None}}),
        ("limits.recurrent_schedule",),
    ),
    (bonus(limits=every("daily", day_of_week=1)), ("limits.recurrent_schedule.per_user",)),
]


@pytest.mark.parametrize(("job", "columns"), DOUBTS)
def test_what_is_only_inferred_warns(job, columns):
    operation = COUPON if isinstance(job, Coupon) else BONUS_PROMOTION
    assert tuple(doubt.partition(":")[0] for doubt in operation.warn(job)) == columns


UNDOCUMENTED = [
    ("bonus", [{"sku": "x", "skus": 1}, {"note": {"a": [1.5, None]}}]),
    ("condition", [{"sku": "x", "quantity": 1}]),
    ("limits", {"per_item": None, "recurrent_schedule": {"per_item": {"b": True}}}),
    ("limits", every("weekly", day_of_week=1, day_of_month=None, reset_next_date=1711904400)),
    ("attribute_conditions", [when("eq", "date") | {"unknown": 1}]),
    ("price_conditions", [{**price("ge", "1")[0], "currency": "USD"}]),
]


@pytest.mark.parametrize(("field", "value"), UNDOCUMENTED)
def test_members_that_no_source_names_are_sent_as_given(field, value):
    job = bonus(**{field: value})
    assert json.loads(BONUS_PROMOTION.encode(SHOP, (job,)).body)[field] == value


def test_what_is_sent_as_given_is_named_for_people():
    job = coupon(bonus=[{"sku": "x", "b\n": 1}, {"sku": "y", "a": 1}])
    assert COUPON.warn(job) == ("bonus: Xsolla documents no member a, b; it is sent as given",)


# --------------------------------------------------------------------------------- short forms

SHORT_FORMS = [
    ("bonus", "elven_shield:2, elven_sword", [("elven_shield", 2), ("elven_sword", 1)]),
    ("bonus", "elven_shield", [("elven_shield", 1)]),
    ("bonus", " a : 3 ", [("a", 3)]),
    # the last colon parts the quantity
    ("bonus", "ns:a:3", [("ns:a", 3)]),
    ("bonus", "a:b", None),
    ("bonus", "a:1.5", None),
    ("bonus", ":2", None),
    ("bonus", "a,,b", None),
    ("bonus", "a,", None),
    ("condition", "elven_sword, other", ["elven_sword", "other"]),
    ("condition", "elven_sword:2", None),
    ("price_conditions", "ge 10, lt 49.99", [("ge", "10"), ("lt", "49.99")]),
    ("price_conditions", "10", None),
    ("price_conditions", "ge 1 0", None),
    ("excluded_promotions", "12, 789", [12, 789]),
    ("excluded_promotions", "12; 789", None),
    ("excluded_promotions", "1.0", None),
]


@pytest.mark.parametrize(("field", "text", "expected"), SHORT_FORMS)
def test_short_forms_of_cells(field, text, expected):
    read = BonusPromotion.model_fields[field].metadata[-1].short
    if expected is None:
        with pytest.raises(ValueError, match=r"^\D"):
            read(text)
        return
    simple = [tuple(v.values()) if isinstance(v, dict) else v for v in read(text)]
    flat = [v[0] if isinstance(v, tuple) and len(v) == 1 else v for v in simple]
    assert flat == expected
    assert is_accepted(BonusPromotion, {**SMALLEST_BONUS, field: read(text)})


# ------------------------------------------------------------------------------------ requests

# The request samples of the two pages; for collapsed parts, an example from the same page.
COUPON_SAMPLE = {
    "name": {"de-DE": "Gutscheintitel", "en-US": "Coupon title"},
    "bonus": [{"sku": "elven_shield", "quantity": 1}],
    "date_start": "2020-04-15T18:16:00+05:00",
    "date_end": "2020-04-15T18:16:00+05:00",
    "redeem_total_limit": 10,
    "redeem_user_limit": 10,
    "redeem_code_limit": 10,
}
BONUS_SAMPLE = {
    "name": {"en-US": "Bonus"},
    "condition": [{"sku": "elven_sword"}],
    "bonus": [{"sku": "elven_shield", "quantity": 1}],
    "date_start": "2020-04-15T18:16:00+05:00",
    "date_end": "2020-04-25T18:16:00+05:00",
    "attribute_conditions": [
        {"attribute": "a", "operator": "eq", "value": "v", "type": "string"},
    ],
}


def test_the_coupon_of_the_source():
    job = coupon(**COUPON_SAMPLE)
    request = COUPON.encode(SHOP, (job,))
    assert (request.method, request.path) == (
        "PUT",
        "/v2/project/44056/admin/coupon/coupon_44056_1",
    )
    assert json.loads(request.body) == COUPON_SAMPLE
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "Accept": "application/json",
    }


def test_the_bonus_promotion_of_the_source():
    request = BONUS_PROMOTION.encode(SHOP, (bonus(**BONUS_SAMPLE),))
    assert (request.method, request.path) == (
        "PUT",
        "/v2/project/44056/admin/promotion/111425/bonus",
    )
    assert json.loads(request.body) == BONUS_SAMPLE


def test_a_body_holds_what_the_row_gave_and_no_more():
    request = COUPON.encode(SHOP, (coupon(date_end=None, project_id="44056"),))
    assert request.body == b'{"name":{"en-US":"Coupon"},"date_end":null}'
    text = '{"name":{"en-US":"Bonus"},"condition":null,"bonus":null}'
    assert BONUS_PROMOTION.encode(SHOP, (bonus(),)).body.decode() == text


def test_text_travels_as_utf_8():
    request = COUPON.encode(SHOP, (coupon(name={"zh-CN": "优惠券 🎁"}),))
    assert "优惠券 🎁".encode() in request.body


def test_a_hostile_id_stays_one_segment():
    request = COUPON.encode(SHOP, (coupon(external_id="../../x?y#z"),))
    assert request.path == "/v2/project/44056/admin/coupon/..%2F..%2Fx%3Fy%23z"


def test_numbers_are_sent_as_they_were_given():
    job = coupon(bonus=[{"sku": "a", "quantity": 2}, {"sku": "b", "quantity": 2.0}])
    assert b'"quantity":2}' in COUPON.encode(SHOP, (job,)).body
    assert b'"quantity":2.0}' in COUPON.encode(SHOP, (job,)).body


# ------------------------------------------------------------------------- accounts and entities

MERCHANT = XsollaSettings(project_id=44056, projects=(44057,), api_key="k", merchant_id=2340)


def test_another_project_of_the_account():
    job = coupon(project_id="44057")
    assert MERCHANT.projects == (44057,)
    assert COUPON.refuse(MERCHANT, job) is None
    assert "44057" in (COUPON.refuse(SHOP, job) or "")
    assert COUPON.encode(MERCHANT, (job,)).path.startswith("/v2/project/44057/")
    assert COUPON.entity(MERCHANT, job).scope == "44057"
    assert COUPON.entity(MERCHANT, coupon()).scope == "44056"


def test_other_projects_need_a_merchant_id():
    with pytest.raises(ValidationError, match="merchant_id"):
        XsollaSettings(project_id=44056, projects=(44057,), api_key="k")
    assert XsollaSettings(project_id=44056, projects=(44056,), api_key="k").merchant_id is None


@pytest.mark.parametrize(
    "wrong", [{"project_id": 0}, {"project_id": "x"}, {"api_key": ""}, {"apikey": "k"}]
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValidationError):
        XsollaSettings.model_validate({"project_id": 44056, "api_key": "k", **wrong})


def test_who_asks():
    # SPEC basicAuth: the project's number, or the merchant's in its place
    assert VENDOR.authenticate(SHOP).user == "44056"
    assert VENDOR.authenticate(MERCHANT).user == "2340"
    assert VENDOR.authenticate(SHOP).password.get_secret_value() == "k-very-secret"


def test_one_entity_has_one_key():
    of_text, of_number = (bonus(promotion_id=given) for given in ("00111425", 111425))
    assert BONUS_PROMOTION.entity(SHOP, of_text) == BONUS_PROMOTION.entity(SHOP, of_number)
    written_otherwise = SHOP.model_copy(update={"base_url": "HTTPS://Store.Xsolla.com:443/api"})
    assert COUPON.entity(written_otherwise, coupon()) == COUPON.entity(SHOP, coupon())
    key = COUPON.entity(SHOP, coupon(project_id=44056))
    assert key == COUPON.entity(SHOP, coupon())
    assert key == ("xsolla", "https://store.xsolla.com", "44056", "coupon", "coupon_44056_1")


def test_another_server_or_port_is_another_entity():
    urls = (
        "https://store.xsolla.com",
        "http://127.0.0.1:1",
        "http://127.0.0.1:2",
        "http://[::1]:1",
    )
    shops = [SHOP.model_copy(update={"base_url": url}) for url in urls]
    assert [COUPON.entity(shop, coupon()).origin for shop in shops] == list(urls)


# ------------------------------------------------------------------------------------- replies


def error(status: int, code: Any, message: Any = "words", **more: Any) -> bytes:
    body = {"statusCode": status, "errorCode": code, "errorMessage": message, **more}
    return json.dumps(body).encode()


OK, NO, LATER, STOP = Verdict.OK, Verdict.REJECTED, Verdict.TRANSIENT, Verdict.FATAL
BROKE = "Can not update the promotion"

REPLIES = [
    # BONUS, COUPON: 204 without a body
    (204, b"", OK, "", ""),
    # BONUS: the sample of 401
    (
        401,
        error(401, 1020, "[0401-1020]: Error in Authentication method occurred"),
        STOP,
        "0401-1020",
        "api_key",
    ),
    (401, error(401, 1501), STOP, "1501", "rights"),
    # SPEC: 403 with errorCode 0 and no bracket
    (403, error(403, 0, "Forbidden"), STOP, "http_403", "rights"),
    # SPEC: the two codes disagree; both are kept
    (404, error(404, 4001, "[0401-9802]: Not found"), NO, "0401-9802/4001", "external_id"),
    (422, error(422, 1102, f"[0401-9505]: {BROKE}"), NO, "0401-9505/1102", "correct the row"),
    (404, error(404, 9502, "[0401-9502]: Promotion not found"), NO, "0401-9502", "promotion_id"),
    (422, error(422, 1102), NO, "1102", "correct the row"),
    (422, error(422, 9803), NO, "9803", "another"),
    # inferred: a failure inside the promotion service may pass
    (422, error(422, 9505, f"[0401-9505]: {BROKE}"), LATER, "0401-9505", "later"),
    (422, error(422, 9502), LATER, "9502", "later"),
    # ERRORS: repeat later
    (422, error(422, 1101), LATER, "1101", "later"),
    (400, error(400, 1103), LATER, "1103", "later"),
    # what is not there now is not there later: of a 404 no code says that it may pass
    (404, error(404, 1101), NO, "1101", "no such promotion or coupon"),
    (404, error(404, 1103, "[0401-1103]: x"), NO, "0401-1103", "no such promotion or coupon"),
    (404, error(404, 1103, "[0401-1101]: x"), NO, "0401-1101/1103", "no such promotion or coupon"),
    (404, error(404, 9505), NO, "9505", "no such promotion or coupon"),
    (404, error(404, 1101, "[0401-9802]: x"), NO, "0401-9802/1101", "external_id"),
    (404, error(422, 1101), NO, "1101", "no such promotion or coupon"),
    (422, error(404, 1101), LATER, "1101", "later"),
    (429, error(429, 1103), Verdict.THROTTLED, "1103", "later"),
    (422, error(422, 1102, "[0401-1103]: x"), NO, "0401-1103/1102", "correct the row"),
    # SPEC: a content type that every row would send; its prefix is 0410
    (422, error(422, 1803, "[0410-1803]: Wrong type"), STOP, "0410-1803", "base_url"),
    # the status has the last word
    (422, error(404, 1102), NO, "1102", "correct the row"),
    (401, error(401, 1101), STOP, "1101", "later"),
    (500, error(422, 1102), LATER, "1102", "harmless"),
    # an error within a success is a refusal all the same; one that may pass is doubt
    (200, error(422, 1102, "[0401-1102]: No"), NO, "0401-1102", "correct the row"),
    (200, b'{"errorCode": 9802, "errorMessage": "no such coupon"}', NO, "9802", "external_id"),
    (207, error(404, 9802), NO, "9802", "external_id"),
    (200, error(401, 1020), STOP, "1020", "api_key"),
    (200, error(429, 0), Verdict.THROTTLED, "http_429", "quota"),
    (200, error(422, 9505), LATER, "9505", "harmless"),
    (200, error(422, 1101), LATER, "1101", "harmless"),
    (200, error(404, 1101), NO, "1101", "no such promotion or coupon"),
    (202, error(404, 1103, "[0401-1103]: x"), NO, "0401-1103", "no such promotion or coupon"),
    (200, error(404, 9502), NO, "9502", "promotion_id"),
    (200, error(404, 0), NO, "http_404", "no such promotion or coupon"),
    (200, error(500, 0), LATER, "http_500", "harmless"),
    # SPEC: 204 and nothing else
    (200, b"", LATER, "not_confirmed", "harmless"),
    (200, b'{"ok": true}', LATER, "not_confirmed", "harmless"),
    (201, b"", LATER, "not_confirmed", "harmless"),
    (202, b'{"status": "queued"}', LATER, "not_confirmed", "harmless"),
    (203, b"", LATER, "not_confirmed", "harmless"),
    (206, b"{}", LATER, "not_confirmed", "harmless"),
    (207, b'{"results": [{"status": 422}]}', LATER, "not_confirmed", "harmless"),
    # a code that nobody has documented
    (422, error(422, 7777, "[0401-7777]: New"), NO, "0401-7777", "correct the row"),
    # a tolerant reader
    (422, error(422, "1102"), NO, "1102", "correct the row"),
    (422, error(422, True, None), NO, "http_422", "correct the row"),
    (422, b"[]", NO, "http_422", "correct the row"),
    (404, b"<html>nginx</html>", NO, "http_404", "project_id"),
    (502, b"<html>nginx</html>", LATER, "http_502", "harmless"),
    (200, b"<html>Sign in</html>", LATER, "not_the_vendor", "proxy"),
]


@pytest.mark.parametrize(("status", "body", "verdict", "code", "hint"), REPLIES)
def test_what_a_reply_means(status, body, verdict, code, hint):
    (answer,) = COUPON.decode(SHOP, (coupon(),), Reply(status, {}, body))
    assert (answer.verdict, answer.code, answer.http_status) == (verdict, code, status)
    assert hint in answer.hint
    of_success = {OK: Effect.APPLIED, LATER: Effect.MAYBE}.get(verdict, Effect.NONE)
    effects = {2: of_success, 4: Effect.NONE}
    assert answer.effect is effects.get(status // 100, Effect.MAYBE)


def test_the_words_of_xsolla_without_its_codes():
    extended = [
        {"property": "bonus", "message": "The property `bonus` is required"},
        {"property": "name", "message": "Too long"},
        {"message": "no property"},
        "junk",
    ]
    body = error(
        422,
        1102,
        "[0401-1102]: [0401-1102]: Unprocessable\nEntity",
        errorMessageExtended=extended,
        transactionId="b7c0\n",
    )
    (answer,) = COUPON.decode(SHOP, (coupon(),), Reply(422, {}, body))
    assert answer.message == (
        "Unprocessable Entity; bonus: The property `bonus` is required; name: Too long; no property"
    )
    assert answer.request_id == "b7c0"


def test_a_reply_cut_short_has_its_status_still():
    (answer,) = COUPON.decode(SHOP, (coupon(),), Reply(422, {}, b'{"errorCode": 11', is_cut=True))
    assert (answer.verdict, answer.code) == (Verdict.REJECTED, "http_422")


def test_throttling_has_the_wait():
    reply = Reply(429, {"retry-after": "7"}, error(429, 1))
    (answer,) = COUPON.decode(SHOP, (coupon(),), reply)
    assert (answer.verdict, answer.effect, answer.retry_after_s) == (
        Verdict.THROTTLED,
        Effect.NONE,
        7.0,
    )


def test_silence_is_settled_by_sending_again():
    silence = NoReply("timeout", "no answer within 30 s", may_have_arrived=True)
    (answer,) = COUPON.decode(SHOP, (coupon(),), silence)
    assert answer.effect is Effect.MAYBE
    assert answer.hint != HINT_IN_DOUBT
    assert "harmless" in answer.hint
    assert COUPON.repeatable(SHOP, coupon())


# ----------------------------------------------------------------------------------- properties

texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
names = st.dictionaries(st.from_regex(r"[a-z]{2}-[A-Z]{2}", fullmatch=True), texts, min_size=1)
rewards = st.none() | st.lists(
    st.fixed_dictionaries({}, optional={"sku": texts, "quantity": numbers}), max_size=3
)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
dates = st.none() | st.datetimes(timezones=offsets).map(lambda at: at.isoformat(" "))
whole = st.none() | st.integers(-(2**63), 2**63 - 1)
attribute_conditions = st.sampled_from(["string", "date", "number"]).flatmap(
    lambda kind: st.lists(
        st.builds(
            when,
            st.sampled_from(["eq", "ne"]),
            st.just(kind),
            st.from_regex(r"[-_.a-zA-Z0-9]{1,9}", fullmatch=True),
            texts,
        ),
        min_size=1,
        max_size=3,
    )
)
limits = st.fixed_dictionaries(
    {},
    optional={
        "per_user": whole,
        "recurrent_schedule": st.none()
        | st.integers(1, 7).map(lambda day: every("weekly", day_of_week=day)["recurrent_schedule"]),
    },
)
coupons = st.fixed_dictionaries(
    {"external_id": texts.filter(lambda text: text not in {"", ".", ".."}), "name": names},
    optional={
        "project_id": st.integers(1, 9**9).map(str),
        "bonus": rewards,
        "date_end": dates,
        "redeem_total_limit": whole,
        "redeem_user_limit": whole,
        "redeem_code_limit": whole,
        "attribute_conditions": attribute_conditions,
    },
)
promotions = st.fixed_dictionaries(
    {
        "promotion_id": st.integers(1, 9**9).map(str),
        "name": names,
        "condition": st.none() | st.lists(st.fixed_dictionaries({}, optional={"sku": texts})),
        "bonus": rewards,
    },
    optional={
        "date_start": dates,
        "limits": limits,
        "attribute_conditions": attribute_conditions,
        "price_conditions": st.none()
        | st.lists(st.builds(lambda n: price("ge", str(n))[0], st.integers(0))),
        "excluded_promotions": st.lists(st.integers(-(2**63), 2**63 - 1)),
    },
)


@pytest.mark.parametrize(
    ("operation", "drawn"),
    [(COUPON, coupons), (BONUS_PROMOTION, promotions)],
    ids=["coupon", "bonus"],
)
def test_a_job_and_its_text_never_differ(operation, drawn):
    @settings(max_examples=60, deadline=None)
    @given(drawn)
    def holds(values: dict[str, Any]) -> None:
        job = operation.job_type.model_validate(values)
        again = operation.job_type.trusted(job.canonical_json())
        assert again == job
        assert again.given() == job.given()
        assert again.canonical_json() == job.canonical_json()
        assert operation.job_type.model_validate(again.given() | {}) == job
        request = operation.encode(SHOP, (job,))
        assert request == operation.encode(SHOP, (again,))
        addressing = {"external_id", "promotion_id", "project_id"}
        sent = {name: value for name, value in job.given().items() if name not in addressing}
        assert json.loads(request.body) == sent
        assert set(values) == job.model_fields_set
        operation.warn(job)

    holds()
