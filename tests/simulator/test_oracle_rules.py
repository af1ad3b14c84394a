"""The rules of the one update of purchased offers, and of its token call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator import SimulatorOptions
from pipeline.simulator.core import path_segments
from pipeline.simulator.state import StoredState
from pipeline.simulator.vendor import Call, VendorReply
from pipeline.simulator.vendors.oracle import VENDOR

from .client import OFFERS, basic, offers, product

NOW_S = 1_700_000_000.0
DISCOUNT = "0.0.0.1+-purchased_discount+345678"


@pytest.fixture
def state():
    made = StoredState()
    yield made
    made.close()


def call(
    state: StoredState,
    body: Any,
    method: str = "PUT",
    path: str = OFFERS,
    options: SimulatorOptions | None = None,
    **headers: str,
) -> VendorReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "authorization": f"Bearer {state.issue('oracle', NOW_S + 60)}",
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    made = Call(method, fields, raw, "t1", NOW_S)
    target = VENDOR.locate(path_segments(path, VENDOR.prefix), made)
    return VENDOR.answer(options or SimulatorOptions(), state, made, target)


def held(state: StoredState) -> dict[str, int]:
    return {entity["id"]: entity["body"]["statusCode"] for entity in state.entities()}


SEED = {
    "statusCode": "2",
    "chargeOffers": [{"ref": {"id": "0.0.0.1+-purchased_product+209130"}}],
    "discountOffers": [],
}

GOOD = [
    SEED,  # the vendor's own sample
    offers(product(1), status=2),  # as the schema types it
    offers(product(1), status="0"),
    offers(product(1), product(2), discounts=(DISCOUNT,)),
    offers(discounts=(DISCOUNT,)),
    {"statusCode": 1, "chargeOffers": SEED["chargeOffers"]},  # a list may be left out
    offers(product(1), effectiveDate="2026-12-01T00:00:00Z"),
    offers(product(1), extension={"site": [1]}),
    offers(product(1), notes={"accountId": "0.0.0.1+-account+123123", "comments": []}),
    offers("12.0.0.3+-purchased_product+7"),  # another database
]


@pytest.mark.parametrize("body", GOOD, ids=repr)
def test_an_update_is_taken(state, body):
    answer = call(state, body)
    assert (answer.status, answer.body, answer.applied) == (200, b"true", True)
    assert set(held(state).values()) == {int(body["statusCode"])}


def test_what_was_sent_is_kept(state):
    more = {
        "effectiveDate": "2026-12-01T00:00:00Z",
        "extension": {"site": 1},
        "notes": {"accountId": "a", "header": "h"},
    }
    call(state, offers(product(1), status="2", **more))
    assert [entity["body"] for entity in state.entities()] == [{"statusCode": 2, **more}]


WRONG_SCHEMA = [
    [],  # an object is wanted
    None,
    offers(product(1), status=True),  # JSON's true is no number
    offers(product(1), status=2.0),
    offers(product(1), status="inactive"),
    offers(product(1), status=None),
    {**SEED, "chargeOffers": None},
    {**SEED, "chargeOffers": {}},
    {**SEED, "chargeOffers": ["0.0.0.1+-purchased_product+1"]},
    {**SEED, "chargeOffers": [{"id": "0.0.0.1+-purchased_product+1"}]},
    {**SEED, "discountOffers": [{"ref": {"id": 345678}}]},
    offers(product(1), effectiveDate="2026-12-01"),
    offers(product(1), effectiveDate=1_700_000_000_000),
    offers(product(1), extension=[]),
    offers(product(1), notes=[{"accountId": "a"}]),  # one note, no array
    offers(product(1), notes={"header": "h"}),  # accountId is required
    offers(product(1), effectivedate="2026-12-01T00:00:00Z"),  # no such member
]
WRONG_BYTES = [b"", b"{", b'{"statusCode": NaN}', b"<x/>", b"[" * 100_000, b"\xff"]


@pytest.mark.parametrize("body", [*WRONG_SCHEMA, *WRONG_BYTES], ids=lambda b: repr(b)[:60])
def test_what_is_no_json_of_the_schema_is_400(state, body):
    answer = call(state, body)
    assert (answer.status, answer.applied) == (400, False)
    assert held(state) == {}


REFUSED = [
    offers(),  # both lists are empty
    {"statusCode": "2"},
    {"chargeOffers": SEED["chargeOffers"]},  # which status?
    offers(product(1), status=4),
    offers(product(1), status=-1),
    offers(product(1), status="10100"),  # of services and accounts
    offers(product(1), product(1)),  # twice
    offers(product(1), product("01")),  # the same number
    offers(DISCOUNT),  # in the other list
    offers(discounts=(product(1),)),
    offers("0.0.0.1+-service-ip+123123"),  # in neither list
    offers("0.0.0.1 /purchased_product 209130 12"),  # how the billing system prints it
    offers("0.0.0.1+-purchased_product+"),
    offers("0.0.0.1 -purchased_product 1"),  # a + that became a blank on its way
    offers("0.0.0.1%2B-purchased_product%2B1"),
    offers("0.0.1+-purchased_product+1"),
    offers("0.0.0.1+-purchased_product+\u0663"),  # ASCII digits
    offers("0.0.0.1+-purchased_product+1\n"),
    offers(""),
    offers(product(666)),  # does not exist
    offers(product(66600012)),
]


@pytest.mark.parametrize("body", REFUSED, ids=repr)
def test_what_billing_would_not_do_is_500(state, body):
    answer = call(state, body)
    assert (answer.status, answer.applied) == (500, False)
    assert answer.body
    assert held(state) == {}


@pytest.mark.parametrize("bad", [product(666), "junk", DISCOUNT, product(1), product(9)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_group_with_one_bad_offer_is_refused_whole(state, bad, place):
    call(state, offers(product(9), status=3))
    good = [product(1), product(2)]
    ids = [*good[:place], bad, *good[place:]]
    assert call(state, offers(*ids)).status == 500  # product(1) a second time, 9 is canceled
    assert held(state) == {product(9): 3}
    assert call(state, offers(*good)).status == 200


def test_the_same_refusal_has_the_same_shape_and_not_all_have_one(state):
    def shape(number: int) -> str:
        return call(state, offers(product(f"666{number}"))).headers["Content-Type"]

    shapes = [shape(number) for number in range(20)]
    assert set(shapes) == {"application/json", "text/plain", "application/xml"}
    assert shapes == [shape(number) for number in range(20)]


def test_canceled_is_final(state):
    for status, answered in (("2", 200), ("1", 200), ("3", 200), ("3", 200), ("1", 500)):
        assert call(state, offers(product(1), status=status)).status == answered
    assert held(state) == {product(1): 3}


def test_strict_ids_know_only_the_samples_and_those_given(state):
    strict = SimulatorOptions(strict_ids=True, known_ids=frozenset({product(6661)}))
    assert call(state, offers(product(1)), options=strict).status == 500
    assert call(state, SEED, options=strict).status == 200
    assert call(state, offers(discounts=(DISCOUNT,)), options=strict).status == 200
    assert call(state, offers(product(6661)), options=strict).status == 200


@pytest.mark.parametrize(
    ("body", "entity_id", "ids"),
    [
        (SEED, product(209130), (product(209130),)),
        (offers("a", "a", discounts=("b",)), "", ("a", "a", "b")),  # as they stand
        (offers(), "", ()),
        ([], "", ()),
        (b"{", "", ()),
        ({"chargeOffers": [None, {"ref": []}, {"ref": {"id": 5}}]}, "", ()),
    ],
    ids=repr,
)
def test_a_target_holds_what_the_body_names(body, entity_id, ids):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = VENDOR.locate(("statusupdate", "offers"), Call("PUT", {}, raw, "t1", NOW_S))
    assert found
    assert (found.entity_id, found.ids) == (entity_id, ids)


@given(st.binary(max_size=60))
def test_any_body_is_answered(raw):
    state = StoredState()
    assert call(state, raw).status == 400
    state.close()


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("GET", OFFERS, "application/json", 405),  # there is no read
        ("POST", OFFERS, "application/json", 405),
        ("PUT", OFFERS, "application/xml", 415),  # the XML's root is not published
        ("PUT", OFFERS, "", 415),
        ("PUT", OFFERS, "application/json;charset=UTF-8", 200),
        ("PUT", OFFERS + "/1", "application/json", 404),
        ("PUT", OFFERS.replace("offers", "account"), "application/json", 404),
    ],
)
def test_routes_methods_and_types(state, method, path, content_type, status):
    answer = call(state, SEED, method, path, content_type=content_type)
    assert answer.status == status
    assert answer.headers.get("Allow") == ("PUT" if status == 405 else None)


@pytest.mark.parametrize(
    ("auth", "authorization", "is_in"),
    [
        ("bearer", "Bearer made-up", False),
        ("bearer", basic("simulator-user", "simulator-password"), False),
        ("bearer", "", False),
        ("basic", basic("simulator-user", "simulator-password"), True),
        ("basic", basic("simulator-user", "other"), False),
        ("basic", basic("simulator-client", "simulator-secret"), False),
        ("basic", "Bearer made-up", False),
        ("basic", "", False),
        ("none", "", True),
        ("none", "Bearer made-up", True),
    ],
)
def test_what_oracle_asks_for_is_an_option(state, auth, authorization, is_in):
    answer = call(
        state, SEED, options=SimulatorOptions(oracle_auth=auth), authorization=authorization
    )
    assert answer.status == (200 if is_in else 401)
    if not is_in:
        assert answer.headers["WWW-Authenticate"] == ("Basic" if auth == "basic" else "Bearer")
        assert held(state) == {}


# ---- the token call ----


def ask_token(state: StoredState, authorization: str, method: str = "GET") -> VendorReply:
    assert VENDOR.token_endpoint
    made = Call(method, {"authorization": authorization}, b"", "t1", NOW_S)
    return VENDOR.token_endpoint.answer(SimulatorOptions(), state, made)


def test_a_token_call_gives_a_token_that_gets_in(state):
    answer = ask_token(state, basic("simulator-client", "simulator-secret"))
    given_out = json.loads(answer.body)
    assert (given_out["token_type"], given_out["expires_in"]) == ("Bearer", 3600)
    authorization = f"Bearer {given_out['access_token']}"
    assert call(state, SEED, authorization=authorization).status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic !!!",
        "Bearer x",
        basic("simulator-client", "other"),
        basic("simulator-user", "simulator-password"),
    ],
)
def test_a_wrong_token_call_gets_none(state, authorization):
    answer = ask_token(state, authorization)
    assert (answer.status, b"token" in answer.body) == (401, False)


def test_a_token_is_requested_with_get(state):
    answer = ask_token(state, basic("simulator-client", "simulator-secret"), "POST")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")
