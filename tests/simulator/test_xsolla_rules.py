"""Every documented rule of the two bodies, with a row that keeps it and a row that breaks it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.simulator import SimulatorOptions
from pipeline.simulator.core import path_segments
from pipeline.simulator.state import StoredState
from pipeline.simulator.vendor import Call, VendorReply
from pipeline.simulator.vendors.xsolla import VENDOR, next_reset

from .client import BONUS, COUPON, basic

NAME = {"name": {"en-US": "x"}}
NEEDED = {**NAME, "condition": None, "bonus": None}
ATTRIBUTE = {"attribute": "race", "operator": "eq", "value": "elf", "type": "string"}
DAILY = {"interval_type": "daily", "time": "11:00:00+03:00"}


def attributes(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"attribute_conditions": [{**ATTRIBUTE, **change} for change in changes]}


def schedule(per_user: Any) -> dict[str, Any]:
    return {"limits": {"recurrent_schedule": {"per_user": per_user}}}


def without(whole: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in whole.items() if k != key}


@pytest.fixture
def state():
    made = StoredState()
    yield made
    made.close()


def call(
    state: StoredState,
    method: str,
    path: str,
    body: Any = None,
    options: Any = None,
    **headers: str,
) -> VendorReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "authorization": basic("44056", "simulator-key"),
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    made = Call(method, fields, raw, "t1", datetime(2024, 2, 10, tzinfo=UTC).timestamp())
    target = VENDOR.locate(path_segments(path, ""), made)
    return VENDOR.answer(options or SimulatorOptions(), state, made, target)


GOOD_BOTH = [
    NAME,  # all that a coupon needs
    {"name": {}},  # no least number of locales is documented
    {"name": {"english": "x"}},  # the form of a locale stands in the description only
    {"bonus": [{"sku": "a", "quantity": 2}]},
    {"bonus": [{"sku": "a"}]},  # quantity has a default
    {"bonus": [{"quantity": 1.5}]},  # sku is not required, quantity is a number
    {"bonus": []},
    {"date_start": "2020-04-15T18:16:00+05:00", "date_end": None},  # the documented sample
    {"date_start": "2020-04-15T18:16:00Z"},  # RFC 3339 has Z
    {"date_start": "2020-04-15t18:16:00.123456789z"},  # and fractions, and small letters
    {"date_start": "2021-01-02T00:00:00Z", "date_end": "2020-01-01T00:00:00Z"},  # no order stated
    attributes({}),
    attributes({"operator": "ne", "can_be_missing": True}),
    attributes({"attribute": "a" * 255, "value": "v" * 255}),  # the longest
    attributes({"value": ""}),  # no least length
    attributes(*[{}] * 100),  # the most items
    *[attributes({"type": "date", "operator": op}) for op in ("eq", "ne", "er", "lt", "ee", "le")],
    *[attributes({"type": "number", "operator": op, "value": "3"}) for op in ("er", "gt", "ge")],
    {"unheard_of": 1},  # not in the schema: ignored
]
GOOD_COUPON = [
    {"redeem_total_limit": 10, "redeem_user_limit": None, "redeem_code_limit": 0},
    {"external_id": 5, "is_enabled": True, "total_limit_state": None},  # a read sent back: ignored
]
GOOD_BONUS = [
    {"condition": [{"sku": "elven_sword"}, {}]},  # sku is not required
    {"id": 5},
    {"limits": {}},
    {"limits": {"per_user": None, "recurrent_schedule": None}},
    {"limits": {"per_user": 3}},
    schedule(DAILY),
    schedule({**DAILY, "day_of_week": None}),  # of no meaning here: ignored
    schedule({**DAILY, "interval_type": "weekly", "day_of_week": 7}),
    schedule({**DAILY, "interval_type": "monthly", "day_of_month": 31}),
    schedule({**DAILY, "time": "from 11:00:00+03:00 on"}),  # the pattern has no anchors
    {"price_conditions": None},
    {"price_conditions": [{"operator": "ge", "value": "10.1234"}], "condition": [{"sku": "a"}]},
    {"excluded_promotions": [12, 789]},
]


@pytest.mark.parametrize("extra", [*GOOD_BOTH, *GOOD_COUPON], ids=repr)
def test_a_coupon_takes(state, extra):
    assert call(state, "PUT", COUPON, {**NAME, **extra}) == VendorReply(204, applied=True)


@pytest.mark.parametrize("extra", [*GOOD_BOTH, *GOOD_BONUS], ids=repr)
def test_a_bonus_promotion_takes(state, extra):
    assert call(state, "PUT", BONUS, {**NEEDED, **extra}) == VendorReply(204, applied=True)


BAD_BOTH = [
    ({"name": None}, "name"),  # required and not nullable
    ({"name": ["x"]}, "name"),  # an object
    ({"name": {"en-US": 5}}, "name.en-US"),  # of strings
    ({"name": {"en-US": None}}, "name.en-US"),
    ({"bonus": {}}, "bonus"),  # an array
    ({"bonus": ["sku"]}, "bonus[0]"),  # of objects
    ({"bonus": [{"sku": None}]}, "bonus[0].sku"),  # a string, not null
    ({"bonus": [{"sku": "a"}, {"sku": 7}]}, "bonus[1].sku"),
    ({"bonus": [{"quantity": "1"}]}, "bonus[0].quantity"),  # a number, not its text
    ({"bonus": [{"quantity": True}]}, "bonus[0].quantity"),  # JSON's true is no number
    ({"bonus": [{"quantity": None}]}, "bonus[0].quantity"),
    ({"date_start": "2020-04-15T18:16:00"}, "date_start"),  # the offset is needed
    ({"date_start": "2020-04-15 18:16:00+05:00"}, "date_start"),  # a T between
    ({"date_start": "2020-04-15T18:16:00+0500"}, "date_start"),  # a colon in the offset
    ({"date_start": "2020-04-15"}, "date_start"),  # a time is needed
    ({"date_start": "2020-02-30T00:00:00Z"}, "date_start"),  # no such day
    ({"date_start": "2020-04-15T24:00:00Z"}, "date_start"),  # no such hour
    ({"date_start": "2020-04-15T18:16:00+25:00"}, "date_start"),  # no such offset
    ({"date_end": ""}, "date_end"),
    ({"date_end": 1587}, "date_end"),
    ({"attribute_conditions": []}, "attribute_conditions"),  # at least one
    (attributes(*[{}] * 101), "attribute_conditions"),  # at most a hundred
    ({"attribute_conditions": None}, "attribute_conditions"),  # not nullable
    ({"attribute_conditions": [[ATTRIBUTE]]}, "attribute_conditions[0]"),  # flat
    *[
        ({"attribute_conditions": [without(ATTRIBUTE, key)]}, f"attribute_conditions[0].{key}")
        for key in ATTRIBUTE  # all four are required
    ],
    (attributes({"attribute": ""}), "attribute_conditions[0].attribute"),
    (attributes({"attribute": "a" * 256}), "attribute_conditions[0].attribute"),
    (attributes({"attribute": "a b"}), "attribute_conditions[0].attribute"),  # the pattern
    (attributes({"attribute": "rasse\n"}), "attribute_conditions[0].attribute"),  # anchored
    (attributes({"attribute": "größe"}), "attribute_conditions[0].attribute"),  # ASCII \w
    (attributes({"value": "v" * 256}), "attribute_conditions[0].value"),
    (attributes({"value": 3, "type": "number"}), "attribute_conditions[0].value"),  # always text
    (attributes({"can_be_missing": 1}), "attribute_conditions[0].can_be_missing"),
    (attributes({"type": "bool"}), "attribute_conditions[0].type"),
    (attributes({"operator": "er"}), "attribute_conditions[0].operator"),  # not for strings
    (attributes({"type": "date", "operator": "gt"}), "attribute_conditions[0].operator"),
    (attributes({}, {"type": "date"}), "attribute_conditions"),  # one type in all
]
BAD_COUPON = [
    ({"redeem_total_limit": "10"}, "redeem_total_limit"),  # an integer or null
    ({"redeem_user_limit": 1.0}, "redeem_user_limit"),
    ({"redeem_code_limit": False}, "redeem_code_limit"),
]
BAD_BONUS = [
    ({"condition": [{"sku": 1}]}, "condition[0].sku"),
    ({"condition": "elven_sword"}, "condition"),
    ({"id": None}, "id"),  # optional, not nullable
    ({"id": "5"}, "id"),
    ({"limits": None}, "limits"),
    ({"limits": {"per_user": {"total": 3}}}, "limits.per_user"),  # the shape of a read
    ({"limits": {"recurrent_schedule": {}}}, "limits.recurrent_schedule.per_user"),
    (
        schedule({**DAILY, "interval_type": "hourly"}),  # in no source
        "limits.recurrent_schedule.per_user.interval_type",
    ),
    (schedule(without(DAILY, "time")), "limits.recurrent_schedule.per_user.time"),
    (schedule({**DAILY, "time": "11:00:00Z"}), "limits.recurrent_schedule.per_user.time"),
    (schedule({**DAILY, "time": "11:30:00+03:00"}), "limits.recurrent_schedule.per_user.time"),
    (schedule({**DAILY, "time": "24:00:00+03:00"}), "limits.recurrent_schedule.per_user.time"),
    (
        schedule({**DAILY, "interval_type": "weekly"}),  # the day is required
        "limits.recurrent_schedule.per_user.day_of_week",
    ),
    (
        schedule({**DAILY, "interval_type": "weekly", "day_of_week": 8}),
        "limits.recurrent_schedule.per_user.day_of_week",
    ),
    (
        schedule({**DAILY, "interval_type": "monthly", "day_of_month": 0}),
        "limits.recurrent_schedule.per_user.day_of_month",
    ),
    ({"price_conditions": [{"operator": "er", "value": "1"}]}, "price_conditions[0].operator"),
    ({"price_conditions": [{"operator": "eq", "value": 1}]}, "price_conditions[0].value"),
    ({"price_conditions": [{"operator": "eq", "value": "1.12345"}]}, "price_conditions[0].value"),
    ({"price_conditions": [{"operator": "eq", "value": "-1"}]}, "price_conditions[0].value"),
    ({"price_conditions": [{"value": "1"}]}, "price_conditions[0].operator"),  # required
    ({"price_conditions": [{"operator": "eq"}]}, "price_conditions[0].value"),  # required
    ({"excluded_promotions": ["12"]}, "excluded_promotions[0]"),
    ({"excluded_promotions": None}, "excluded_promotions"),
]


def refused_for(answer: VendorReply) -> list[str]:
    document = json.loads(answer.body)
    assert (answer.status, document["statusCode"], document["errorCode"]) == (422, 422, 1102)
    assert document["errorMessage"].startswith("[0401-1102]: ")
    assert document["transactionId"]
    assert f"`{document['errorMessageExtended'][0]['property']}`" in document["errorMessage"]
    assert not answer.applied
    return [problem["property"] for problem in document["errorMessageExtended"]]


@pytest.mark.parametrize(("extra", "field"), [*BAD_BOTH, *BAD_COUPON], ids=repr)
def test_a_coupon_refuses(state, extra, field):
    assert refused_for(call(state, "PUT", COUPON, {**NAME, **extra})) == [field]
    assert list(state.entities()) == []


@pytest.mark.parametrize(("extra", "field"), [*BAD_BOTH, *BAD_BONUS], ids=repr)
def test_a_bonus_promotion_refuses(state, extra, field):
    assert refused_for(call(state, "PUT", BONUS, {**NEEDED, **extra})) == [field]
    assert list(state.entities()) == []


@pytest.mark.parametrize(
    ("path", "field"), [(COUPON, "name"), (BONUS, "name"), (BONUS, "condition"), (BONUS, "bonus")]
)
def test_a_required_field_is_missed_by_name(state, path, field):
    answer = call(state, "PUT", path, without(NEEDED, field))
    assert refused_for(answer) == [field]
    assert f"The property `{field}` is required" in json.loads(answer.body)["errorMessage"]


def test_all_faults_of_a_body_are_reported_at_once(state):
    assert refused_for(call(state, "PUT", BONUS, {"bonus": 1})) == ["condition", "name", "bonus"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",  # a PUT needs a body
        b"{",
        b'{"name": {}, "unheard_of": NaN}',  # no JSON, though Python reads it
        b'\xef\xbb\xbf{"name": {}}',  # a byte order mark is no JSON
        b'{"name": {"en-US": "\xe4"}}',  # Latin-1
        '{"name": {}}'.encode("utf-16"),
        b"[" * 100_000,  # deeper than any parser
        b"[]",  # an object is wanted
        b"null",
        b'{"name": {}} {}',
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_a_body_that_is_no_json_object_is_refused(state, raw):
    answer = call(state, "PUT", COUPON, raw)
    assert (answer.status, json.loads(answer.body)["errorCode"]) == (422, 1102)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 204),
        ("application/json; charset=utf-8", 204),
        ('Application/JSON;charset="UTF-8"', 204),  # names and charset know no case
        ("", 422),
        ("text/plain", 422),
        ("application/json-patch+json", 422),
        ("application/x-www-form-urlencoded", 422),
        ("application/json; charset=utf-16", 422),  # JSON travels as UTF-8
        ("application/json, text/plain", 422),
    ],
)
def test_an_update_states_its_content_type(state, content_type, status):
    answer = call(state, "PUT", COUPON, NAME, content_type=content_type)
    assert answer.status == status
    if status == 422:
        document = json.loads(answer.body)
        assert document["errorCode"] == 1803
        assert document["errorMessage"].startswith("[0410-1803]")  # not 0401, as documented


@pytest.mark.parametrize(
    ("authorization", "is_in"),
    [
        (basic("44056", "simulator-key"), True),  # the project of the path
        (basic("7001", "simulator-key"), True),  # the merchant instead
        (basic("44056", "simulator-key").replace("Basic", "basic"), True),  # no case in a scheme
        (basic("44057", "simulator-key"), False),  # another project
        (basic("44056", "wrong"), False),
        (basic("44056", ""), False),
        (basic("", "simulator-key"), False),
        ("Basic !!!", False),
        ("Basic", False),
        ("Bearer simulator-key", False),
        ("", False),
    ],
)
def test_only_the_right_key_gets_in(state, authorization, is_in):
    for method, good in (("PUT", 204), ("GET", 200)):
        answer = call(state, method, COUPON, NAME, authorization=authorization)
        assert answer.status == (good if is_in else 401)
        if not is_in:
            assert json.loads(answer.body) == {
                "statusCode": 401,
                "errorCode": 1020,
                "errorMessage": "[0401-1020]: Error in Authentication method occurred",
                "transactionId": "t1",
            }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (COUPON, ("xsolla.coupon", "44056", "C1")),
        (BONUS, ("xsolla.bonus-promotion", "44056", "111425")),
        ("/v2/project/44056/admin/coupon/a%20b", ("xsolla.coupon", "44056", "a b")),
        (  # one segment, decoded once
            "/v2/project/1/admin/coupon/..%2F..%2Fx%3Fy%23z%252F",
            ("xsolla.coupon", "1", "../../x?y#z%2F"),
        ),
        (COUPON + "?x=/activate", ("xsolla.coupon", "44056", "C1")),
        ("/v2/project/44056/admin/coupon/", None),
        (COUPON + "/", None),
        (COUPON + "/activate", None),
        ("/v2/project/44056/admin/coupon/../coupon/C1", None),  # nothing is normalised away
        ("/v2/project/x/admin/coupon/C1", None),  # a project is a number
        ("/v2/project/\u0663/admin/coupon/C1", None),  # in ASCII digits
        ("/v2/project/1/admin/promotion/C1/bonus", None),  # so is a promotion
        ("/v2/project/1/admin/promotion/-1/bonus", None),
        ("/v3/project/44056/admin/coupon/C1", None),
    ],
)
def test_a_path_names_one_entity(path, expected):
    target = VENDOR.locate(path_segments(path, ""), Call("PUT", {}, b"", "t1", 0.0))
    assert expected == (target and (target.kind, target.scope, target.entity_id))


def test_an_unknown_route_and_another_method_are_refused(state):
    assert call(state, "PUT", COUPON + "/activate", NAME).status == 404
    answer = call(state, "PATCH", COUPON, NAME)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, PUT")
    assert json.loads(answer.body)["errorCode"] == 0


@pytest.mark.parametrize(
    ("path", "body", "code"), [(COUPON, NAME, 9802), (BONUS.replace("111425", "7"), NEEDED, 9502)]
)
def test_strict_ids_know_only_the_samples_and_those_given(state, path, body, code):
    strict = SimulatorOptions(strict_ids=True)
    for method in ("GET", "PUT"):
        answer = call(state, method, path, body, options=strict)
        assert (answer.status, json.loads(answer.body)["errorCode"]) == (404, code)
        assert not answer.applied
    known = SimulatorOptions(strict_ids=True, known_ids=frozenset({"C1", "7"}))
    assert call(state, "PUT", path, body, options=known).status == 204
    assert call(state, "GET", path.replace("/C1", "/coupon_44056_1"), options=known).status == 200


@pytest.mark.parametrize("field", ["condition", "bonus"])
def test_a_sku_that_is_not_in_the_catalog_is_refused(state, field):
    answer = call(state, "PUT", BONUS, {**NEEDED, field: [{"sku": "a"}, {"sku": "no_such_sku"}]})
    document = json.loads(answer.body)
    assert (answer.status, document["errorCode"], answer.applied) == (422, 1102, False)
    assert document["errorMessage"].startswith("[0401-9505]: ")  # as in the documented sample
    assert f"{field}[1].sku" in document["errorMessage"]
    none = SimulatorOptions(unknown_skus=frozenset())
    assert (
        call(state, "PUT", BONUS, {**NEEDED, field: [{"sku": "no_such_sku"}]}, none).status == 204
    )


def read(state: StoredState, path: str) -> dict[str, Any]:
    answer = call(state, "GET", path)
    assert answer.status == 200
    return dict(json.loads(answer.body))


def test_every_id_has_the_sample_state_until_it_is_updated(state):
    coupon, bonus = read(state, COUPON), read(state, BONUS)
    assert coupon["name"] == {"de-DE": "Gutscheintitel", "en-US": "Coupon title"}
    assert bonus["condition"] == [{"sku": "elven_sword"}]


def test_an_update_replaces_the_whole_coupon(state):
    call(state, "PUT", COUPON, {**NAME, "redeem_total_limit": 7, "bonus": [{"sku": "a"}]})
    assert read(state, COUPON) == {
        **NAME,
        "bonus": [{"sku": "a"}],
        "redeem_total_limit": 7,
        "external_id": "C1",
        "is_enabled": True,
        "total_limit_state": {"available": 7, "reserved": 0, "used": 0},
    }
    call(state, "PUT", COUPON, NAME)
    assert read(state, COUPON) == {
        **NAME,  # what was left out is gone
        "external_id": "C1",
        "is_enabled": True,
        "total_limit_state": None,
    }


def test_a_bonus_promotion_is_read_in_another_shape_than_it_is_written(state):
    monthly = {"interval_type": "monthly", "day_of_month": 31, "time": "01:00:00+08:00"}
    limits = {"per_user": 3, "recurrent_schedule": {"per_user": monthly}}
    call(state, "PUT", BONUS, {**NEEDED, "limits": limits, "is_enabled": False})
    assert read(state, BONUS) == {
        **NEEDED,
        "id": 111425,
        "is_enabled": True,
        "limits": {
            "per_user": {"total": 3},
            "per_item": None,
            "recurrent_schedule": {
                "per_user": {
                    **monthly,
                    "day_of_week": None,
                    "reset_next_date": 1709139600,
                    "displayable_reset_start_date": "2024-02-29T01:00:00+08:00",
                    "displayable_reset_next_date": "2024-02-29T01:00:00+08:00",
                }
            },
        },
    }
    call(state, "PUT", BONUS, NEEDED)
    empty = {"per_user": None, "per_item": None, "recurrent_schedule": None}
    assert read(state, BONUS)["limits"] == empty


def test_fields_outside_the_schema_are_not_kept(state):
    call(state, "PUT", COUPON, {**NAME, "is_enabled": False, "condition": None})
    assert [entity["body"] for entity in state.entities()] == [NAME]


def test_what_was_read_of_a_bonus_promotion_cannot_be_sent_back(state):
    assert refused_for(call(state, "PUT", BONUS, read(state, BONUS))) == ["limits.per_user"]


def test_projects_do_not_share_entities(state):
    call(state, "PUT", COUPON, NAME)
    other = COUPON.replace("44056", "1")
    answer = call(state, "GET", other, authorization=basic("7001", "simulator-key"))
    assert json.loads(answer.body)["name"] != NAME["name"]


@pytest.mark.parametrize(
    ("interval", "now", "expected"),
    [
        (DAILY, (2024, 5, 1, 7), "2024-05-01T11:00:00+03:00"),  # an hour ahead
        (DAILY, (2024, 5, 1, 8), "2024-05-02T11:00:00+03:00"),  # now is past
        (DAILY, (2024, 5, 1, 22), "2024-05-02T11:00:00+03:00"),  # there it is tomorrow already
        (
            {**DAILY, "interval_type": "weekly", "day_of_week": 1},
            (2024, 5, 1, 0),
            "2024-05-06T11:00:00+03:00",
        ),
        (
            {**DAILY, "interval_type": "monthly", "day_of_month": 31},
            (2024, 4, 1, 0),
            "2024-04-30T11:00:00+03:00",  # a shorter month ends on its last day
        ),
    ],
)
def test_the_next_reset(interval, now, expected):
    assert next_reset(interval, datetime(*now, tzinfo=UTC)).isoformat() == expected
