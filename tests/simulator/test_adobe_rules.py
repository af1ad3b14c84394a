"""Every documented rule of the two dialects, with a row that keeps it and a row that breaks it."""

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
from pipeline.simulator.vendors.adobe import VENDOR

from .client import DPS, DPS_PATCH, XCORE, XCORE_GET, XCORE_PATCH, form, journey

NOW_S = 1_700_000_000.0
APPROVE = [{"op": "replace", "path": "/_instance/xdm:status", "value": "approved"}]
APPROVE_DPS = [{"op": "replace", "path": "/status", "value": "approved"}]


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
    options: SimulatorOptions | None = None,
    **headers: str | None,
) -> VendorReply:
    """An answer; the headers are good but for those given, of which None leaves one out."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sort = DPS_PATCH if "/dps/" in path else XCORE_GET if method == "GET" else XCORE_PATCH
    fields = {
        **journey(state.issue("adobe", NOW_S + 60)),
        **sort,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    good = {name: value for name, value in fields.items() if value is not None}
    made = Call(method, good, raw, "t1", NOW_S, path.partition("?")[2])
    target = VENDOR.locate(path_segments(path, VENDOR.prefix), made)
    return VENDOR.answer(options or SimulatorOptions(), state, made, target)


def document(answer: VendorReply) -> Any:
    return json.loads(answer.body)


def the_status(state: StoredState, path: str) -> str:
    held = document(call(state, "GET", path))
    return str(held["status"] if "/dps/" in path else held["_instance"]["xdm:status"])


# ---- what a good patch answers ----


def test_an_xcore_receipt_has_the_documented_fields(state):
    answer = call(state, "PATCH", XCORE, APPROVE)
    receipt = document(answer)
    assert (answer.status, answer.applied) == (200, True)
    assert list(receipt) == [
        *("instanceId", "@id", "repo:etag", "repo:createdDate", "repo:lastModifiedDate"),
        *("repo:createdBy", "repo:lastModifiedBy"),
        *("repo:createdByClientId", "repo:lastModifiedByClientId"),
    ]
    assert (receipt["instanceId"], receipt["repo:etag"]) == ("o1", 2)
    assert receipt["@id"].startswith("xcore:fallback-offer:")
    assert receipt["repo:lastModifiedDate"] == "2023-11-14T22:13:20.000000Z"
    assert receipt["repo:lastModifiedByClientId"] == "simulator-client"


def test_a_dps_receipt_has_the_documented_fields(state):
    answer = call(state, "PATCH", DPS, APPROVE_DPS)
    assert (answer.status, answer.applied) == (200, True)
    assert set(document(answer)) == {
        *("id", "datasetId", "sandboxId", "etag", "createdDate", "lastModifiedDate"),
        *("createdBy", "lastModifiedBy", "createdByClientId", "lastModifiedByClientId"),
    }
    assert (document(answer)["id"], document(answer)["etag"]) == ("o1", 2)


@pytest.mark.parametrize(("path", "patch"), [(XCORE, APPROVE), (DPS, APPROVE_DPS)])
def test_every_id_has_the_sample_state_until_it_is_patched(state, path, patch):
    assert the_status(state, path) == "draft"
    assert list(state.entities()) == []  # reading writes nothing
    call(state, "PATCH", path, patch)
    assert the_status(state, path) == "approved"
    assert the_status(state, path.replace("o1", "o2")) == "draft"


def test_containers_sandboxes_and_dialects_do_not_share_entities(state):
    call(state, "PATCH", XCORE, APPROVE)
    call(state, "PATCH", DPS, APPROVE_DPS)
    assert the_status(state, XCORE.replace("e0bd", "f0bd")) == "draft"
    other = call(state, "GET", DPS, x_sandbox_name="dev")
    assert document(other)["status"] == "draft"
    assert [(each["scope"], each["id"]) for each in state.entities()] == [
        ("dps:prod", "o1"),
        ("e0bd8463-0913-4ca1-bd84-6309134ca1f6", "o1"),
    ]


def test_a_read_has_the_etag_and_may_be_spared(state):
    assert document(call(state, "GET", XCORE))["repo:etag"] == 1
    assert document(call(state, "GET", DPS))["etag"] == 1
    assert call(state, "GET", XCORE, if_none_match='"1"') == VendorReply(304)
    assert call(state, "GET", XCORE, if_none_match='"2"').status == 200


# ---- the gateway ----


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x_api_key": None}, 403, "403000"),
        ({"x_api_key": "other"}, 403, "403003"),  # not the client's id
        ({"authorization": None}, 403, "403010"),
        ({"authorization": "Bearer made-up"}, 401, "401013"),  # never given out
        ({"authorization": "Basic eDp5"}, 401, "401013"),
        ({"authorization": "Bearer"}, 401, "401013"),
        ({"x_gw_ims_org_id": None}, 400, "400003"),
    ],
)
@pytest.mark.parametrize("path", [XCORE, DPS, "/data/core/nowhere"])  # before any service
def test_the_gateway_refuses_in_its_own_shape(state, path, headers, status, code):
    for method in ("PATCH", "GET"):
        answer = call(state, method, path, APPROVE, **headers)
        assert (answer.status, set(document(answer))) == (status, {"error_code", "message"})
        assert document(answer)["error_code"] == code
        assert answer.applied is False


def test_a_token_of_another_vendor_or_a_past_time_is_not_valid(state):
    other, past = state.issue("oracle", NOW_S + 60), state.issue("adobe", NOW_S)
    for token in (other, past):
        answer = call(state, "PATCH", XCORE, APPROVE, authorization=f"Bearer {token}")
        assert document(answer)["error_code"] == "401013"


def test_429_has_the_gateways_shape_and_the_rest_that_of_the_platform():
    assert document(VENDOR.failure(429, "x", "t1"))["error_code"] == "429050"
    problem = VENDOR.failure(503, "Service Unavailable", "t1")
    assert document(problem)["status"] == problem.status == 503
    assert document(problem)["type"].startswith("https://ns.adobe.com/aep/errors/")
    assert problem.headers["Content-Type"] == "application/problem+json"


# ---- the service ----

GOOD_TYPE, GOOD_ACCEPT = XCORE_PATCH["content-type"], XCORE_PATCH["accept"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": GOOD_TYPE.replace("; ", ";")}, 200),  # blanks are free
        ({"content_type": GOOD_TYPE.replace("patch.hal", "Patch.HAL")}, 200),  # so is the case
        # the type that the same page names in its table creates, it does not patch
        ({"content_type": GOOD_TYPE.replace("vnd.adobe.platform.xcore.patch.hal", "x")}, 415),
        ({"content_type": GOOD_TYPE.replace('"', "")}, 415),  # a ; within must be quoted
        ({"content_type": GOOD_TYPE.replace("; version=1", "", 1)}, 415),
        ({"content_type": GOOD_TYPE.replace("=0.1", "=0.2")}, 415),  # of another schema
        ({"content_type": GOOD_TYPE.partition("; schema")[0]}, 415),
        ({"content_type": "application/json-patch+json"}, 415),
        ({"content_type": "application/json"}, 415),
        ({"content_type": None}, 415),
        ({"accept": GOOD_ACCEPT.replace("; ", ";")}, 200),
        ({"accept": GOOD_ACCEPT.partition(";")[0]}, 406),  # the version is part of it
        ({"accept": "*/*"}, 406),
        ({"accept": "application/json"}, 406),
        ({"accept": None}, 406),
        ({"x_sandbox_name": None}, 400),
        ({"if_match": '"1"'}, 200),
        ({"if_match": '"2"'}, 409),  # stale
        ({"if_match": '"x"'}, 409),  # quoted, but no etag of ours
        ({"if_match": '"01"'}, 409),  # opaque: the same number is another text
        ({"if_match": '"1 "'}, 400),  # a blank is no part of an etag
        ({"if_match": "1"}, 400),  # the quotes are part of it
        ({"if_match": 'W/"1"'}, 400),
        ({"if_match": '"1", "2"'}, 400),
        ({"if_match": "*"}, 400),
    ],
)
def test_xcore_headers(state, headers, status):
    answer = call(state, "PATCH", XCORE, APPROVE, **headers)
    assert (answer.status, answer.applied) == (status, status == 200)
    if status != 200:
        assert document(answer)["status"] == status
        assert document(answer)["request-id"] == "t1"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "application/json; charset=utf-8"}, 200),
        ({"accept": "*/*"}, 200),  # none is documented
        ({"if_match": '"7"'}, 200),  # nor is this: it guards nothing
        ({"content_type": GOOD_TYPE}, 415),
        ({"content_type": None}, 415),
        ({"x_sandbox_name": None}, 400),
    ],
)
def test_dps_headers(state, headers, status):
    assert call(state, "PATCH", DPS, APPROVE_DPS, **headers).status == status


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (XCORE, ("e0bd8463-0913-4ca1-bd84-6309134ca1f6", "o1")),
        ("/data/core/xcore/c/instances/..%2Fx%3Fy", ("c", "../x?y")),  # one segment, decoded once
        ("/data/core/dps/offers/a%2Fb?x=1&offer-type=fallback", ("dps:prod", "a/b")),
        ("/data/core/dps/offers/o1", None),  # of which type?
        ("/data/core/dps/offers/o1?offer-type=personalized", None),
        ("/data/core/dps/offers/?offer-type=fallback", None),
        ("/data/core/dps/placements/o1", None),
        ("/data/core/xcore/c/instances/", None),
        ("/data/core/xcore//instances/o1", None),
        ("/data/core/xcore/c/instances/o1/", None),
        ("/data/core/xcore/dps:prod/instances/o1", None),  # no container is called so
    ],
)
def test_a_path_names_one_entity(path, target):
    made = Call("PATCH", {"x-sandbox-name": "prod"}, b"", "t1", NOW_S, path.partition("?")[2])
    found = VENDOR.locate(path_segments(path, VENDOR.prefix), made)
    assert target == (found and (found.scope, found.entity_id))
    assert found is None or found.kind == "adobe.fallback-offer"


def test_an_unknown_route_and_another_method_are_refused(state):
    assert call(state, "PATCH", "/data/core/dps/offers/o1", APPROVE_DPS).status == 404
    answer = call(state, "DELETE", XCORE)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, PATCH")


def test_strict_ids_know_only_the_sample_and_those_given(state):
    strict = SimulatorOptions(strict_ids=True, known_ids=frozenset({"o2"}))
    for entity_id, is_known in (
        ("o1", False),
        ("o2", True),
        ("b3966680-13ec-11eb-9c20-8323709cfc65", True),  # of the vendor's own sample
    ):
        for path, patch in ((XCORE, APPROVE), (DPS, APPROVE_DPS)):
            for method in ("PATCH", "GET"):
                answer = call(state, method, path.replace("o1", entity_id), patch, strict)
                assert answer.status == (200 if is_known else 404)


# ---- patches ----


def op(name: str, path: str, *value: Any, **more: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **({"value": value[0]} if value else {}), **more}


GOOD_XCORE = [
    [],  # an empty patch is one
    [op("replace", "/_instance/xdm:name", "x")],
    [op("add", "/_instance/xdm:name", "x")],  # add replaces what is there
    [op("add", "/_instance/xdm:tags/-", "t1")],
    [op("remove", "/_instance/xdm:representations")],
    [op("add", "/_instance/xdm:representations/0/note", None)],
    [op("add", "/_instance/_acme", {"a~/b": 1}), op("remove", "/_instance/_acme/a~0~1b")],
    [op("add", "/_instance/xdm:rank", {"xdm:priority": 0})],
    [op("add", "/_instance/xdm:cappingConstraint", {"xdm:globalCap": 1})],
    [op("add", "/_instance/xdm:selectionConstraint", {"xdm:endDate": "2026-12-01T00:00:00Z"})],
    [op("replace", "/_instance/xdm:status", "archived", extra=1)],  # unknown members are ignored
    # wrong in between, right in the end: the whole entity is what is checked
    [op("remove", "/_instance/xdm:name"), op("add", "/_instance/xdm:name", "x")],
]
GOOD_DPS = [
    [op("test", "/status", "draft"), op("replace", "/status", "approved")],
    [op("test", "/etag", 1), op("replace", "/description", "x")],
    [op("test", "/etag", 1.0)],  # JSON has one kind of number
    [{"op": "copy", "from": "/name", "path": "/description"}],
    [op("add", "/labels/-", "core/C1"), op("test", "/labels", ["core/C1"])],
    [op("add", "/rank", {"priority": 3})],
]


@pytest.mark.parametrize(
    ("path", "patch"), [*((XCORE, p) for p in GOOD_XCORE), *((DPS, p) for p in GOOD_DPS)], ids=repr
)
def test_a_patch_is_taken(state, path, patch):
    answer = call(state, "PATCH", path, patch)
    assert (answer.status, answer.applied) == (200, True), answer.body


BAD_XCORE = [
    [op("replace", "/_instance/xdm:nothing", 1)],  # no such path
    [op("remove", "/_instance/xdm:nothing")],
    [op("add", "/_instance/xdm:nothing/x", 1)],
    [op("add", "/_instance/xdm:characteristics/-", "x")],  # there is no array to append to
    [op("replace", "/_instance/xdm:tags/-", "x")],
    [op("add", "/_instance/xdm:tags/1", "x")],  # beyond the end
    [op("add", "/_instance/xdm:tags/00", "x")],
    [op("add", "/_instance/xdm:name/x", 1)],  # below a text
    [op("replace", "/_instance/xdm:name")],  # without a value
    [{"op": "replace", "value": 1}],  # without a path
    [op("replace", "/_instance/xdm:name~2", "x")],
    [op("test", "/_instance/xdm:status", "draft")],  # not among this dialect's operations
    [{"op": "copy", "from": "/_instance/xdm:name", "path": "/_instance/xdm:description"}],
    [{"op": "move", "from": "/_instance/xdm:name", "path": "/_instance/xdm:description"}],
    [op("Replace", "/_instance/xdm:name", "x")],
    [{"path": "/_instance/xdm:name", "value": "x"}],
    [op("replace", "/xdm:name", "x")],  # pointers start below the instance
    [op("replace", "/repo:etag", 7)],
    [op("replace", "/_instance", {"xdm:name": "x", "xdm:status": "draft"})],
    [op("replace", "", {})],
    [op("replace", "/_instance/@id", "xcore:fallback-offer:0")],  # not user-editable
    [op("remove", "/_instance/@id")],
    [op("add", "/_instance/repo:etag", 7)],
    [op("replace", "/_instance/xdm:status", "live")],
    [op("replace", "/_instance/xdm:status", "Approved")],
    [op("replace", "/_instance/xdm:status", None)],
    [op("replace", "/_instance/xdm:status", ["draft"])],
    [op("remove", "/_instance/xdm:status")],
    [op("replace", "/_instance/xdm:name", 5)],
    [op("remove", "/_instance/xdm:name")],
    [op("add", "/_instance/xdm:rank", {"xdm:priority": -1})],
    [op("add", "/_instance/xdm:rank", {"xdm:priority": True})],
    [op("add", "/_instance/xdm:rank", 1)],
    [op("add", "/_instance/xdm:cappingConstraint", {"xdm:profileCap": 0})],
    [op("add", "/_instance/xdm:selectionConstraint", {"xdm:startDate": "2026-12-01"})],
    [op("add", "/_instance/xdm:tags/-", "t"), op("add", "/_instance/xdm:tags/-", "t")],
    [op("add", "/_instance/xdm:tags/-", 1)],
    [op("replace", "/_instance/xdm:tags", {})],
    [op("replace", "/_instance/xdm:representations", [{"xdm:placement": "p"}] * 2)],
    [op("replace", "/_instance/xdm:representations", ["p"])],
]
BAD_DPS = [
    [op("test", "/status", "approved"), op("replace", "/status", "approved")],
    [op("test", "/etag", True)],  # Python's True == 1, not JSON's
    [op("test", "/etag", "1")],
    [op("test", "/labels", {})],
    [op("test", "/nothing", None)],  # missing is not null
    [op("test", "/etag")],
    [{"op": "copy", "from": "/nothing", "path": "/description"}],
    [{"op": "copy", "path": "/description"}],
    [{"op": "copy", "from": 5, "path": "/description"}],
    [{"op": "move", "from": "/description", "path": "/name"}],
    [op("replace", "/etag", 7)],  # not user-editable
    [op("replace", "/etag", True)],
    [op("add", "/createdDate", None)],
    [op("remove", "/id")],
    [{"op": "copy", "from": "/name", "path": "/createdBy"}],
    [op("replace", "", {})],
    [op("replace", "/_instance/xdm:status", "approved")],  # of the other dialect
    [op("replace", "/status", "live")],
    [op("replace", "/description", None)],
]


@pytest.mark.parametrize(
    ("path", "patch"), [*((XCORE, p) for p in BAD_XCORE), *((DPS, p) for p in BAD_DPS)], ids=repr
)
def test_a_patch_is_refused_whole(state, path, patch):
    first = op("add", "/_instance/_acme" if path == XCORE else "/acme", 1)  # good by itself
    answer = call(state, "PATCH", path, [first, *patch])
    assert (answer.status, answer.applied) == (422, False)
    assert document(answer)["title"] == "Unprocessable Entity"
    assert list(state.entities()) == []


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"[", 400),
        (b'{"op": "replace"}', 400),  # one operation is no array of them
        (b"[5]", 400),
        (b"null", 400),
        (b'[{"op":"add","path":"/_instance/a","value":NaN}]', 400),  # no JSON
        (b'[{"op":"add","path":"/_instance/a","value":1e999}]', 422),  # JSON, but no number
        (b'\xef\xbb\xbf[{"op":"add","path":"/_instance/a","value":1}]', 400),
        ("[]".encode("utf-16"), 400),
        (b"[" * 100_000, 400),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_body_that_is_no_patch_is_refused(state, raw, status):
    assert call(state, "PATCH", XCORE, raw).status == status


@pytest.mark.parametrize("depth", [300, 700, 960])
def test_a_value_deeper_than_a_copy_can_go_breaks_nothing(state, depth):
    raw = b'[{"op":"add","path":"/_instance/a","value":' + b"[" * depth + b"]" * depth + b"}]"
    answer = call(state, "PATCH", XCORE, raw)
    assert answer.status in {200, 400, 422}
    assert answer.applied is (answer.status == 200)


def test_the_etag_counts_applied_patches_and_guards_the_next(state):
    for etag in (1, 2, 3):
        assert call(state, "PATCH", XCORE, APPROVE, if_match=f'"{etag}"').status == 200
        assert call(state, "PATCH", XCORE, APPROVE, if_match=f'"{etag}"').status == 409
        assert call(state, "PATCH", XCORE, BAD_XCORE[0], if_match=f'"{etag + 1}"').status == 422
    assert document(call(state, "GET", XCORE))["repo:etag"] == 4


@given(
    steps=st.lists(
        st.builds(
            op,
            st.sampled_from(["add", "replace", "remove", "test", "copy"]),
            st.sampled_from(["/status", "/name", "/etag", "/labels", "/labels/-", "/labels/0"]),
            st.sampled_from(["draft", "approved", 1, True, None, []]),
        ),
        max_size=5,
    )
)
def test_a_patch_is_applied_whole_or_not_at_all(steps):
    state = StoredState()
    before = document(call(state, "GET", DPS))
    answer = call(state, "PATCH", DPS, steps)
    after = document(call(state, "GET", DPS))
    assert answer.status in {200, 422}
    assert after["etag"] == 1 + answer.applied
    if not answer.applied:
        assert after == before
    state.close()


# ---- the token call ----


def ask_token(state: StoredState, body: bytes, method: str = "POST", **headers: str) -> VendorReply:
    fields = {"content-type": "application/x-www-form-urlencoded", **headers}
    assert VENDOR.token_endpoint
    return VENDOR.token_endpoint.answer(
        SimulatorOptions(), state, Call(method, fields, body, "t1", NOW_S)
    )


def test_a_token_call_gives_a_token_that_gets_in(state):
    answer = ask_token(state, form())
    given_out = document(answer)
    assert (answer.status, answer.applied) == (200, False)
    assert (given_out["token_type"], given_out["expires_in"]) == ("bearer", 86399)
    authorization = f"Bearer {given_out['access_token']}"
    assert call(state, "PATCH", XCORE, APPROVE, authorization=authorization).status == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (form(grant_type="password"), "unsupported_grant_type"),
        (form(grant_type=None), "unsupported_grant_type"),
        (form(client_id="other"), "invalid_client"),
        (form(client_secret="other"), "invalid_client"),
        (form(client_secret=None), "invalid_client"),
        (form(scope=None), "invalid_scope"),
        (form(scope=""), "invalid_scope"),
        (form() + b"&client_id=simulator-client", "invalid_request"),  # given twice
        (b"", "unsupported_grant_type"),
        (b'{"grant_type": "client_credentials"}', "invalid_request"),
        (b"\xff=1", "invalid_request"),
    ],
    ids=repr,
)
def test_a_wrong_token_call_gets_the_reason_and_no_secret(state, body, error):
    answer = ask_token(state, body)
    assert (answer.status, document(answer)["error"]) == (400, error)
    assert b"simulator-secret" not in answer.body


def test_a_token_call_is_a_form_that_is_posted(state):
    json_type = {"content-type": "application/json"}
    assert document(ask_token(state, form(), **json_type))["error"] == "invalid_request"
    assert ask_token(state, form(), method="GET").headers["Allow"] == "POST"
