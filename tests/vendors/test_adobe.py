"""Adobe's fallback offers, fact by fact. Sources are named as in `pipeline/vendors/adobe/`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.model import CellKind, Effect, NoReply, Reply, Verdict
from pipeline.vendors import Bearer, State, Token, TokenCall
from pipeline.vendors.adobe import FALLBACK_OFFER, VENDOR, AdobeSettings, FallbackOffer
from pipeline.vendors.kit.classify import HINT_IN_DOUBT

CONTAINER = "e0bd8463-0913-4ca1-bd84-6309134ca1f6"
OFFER = "b3966680-13ec-11eb-9c20-8323709cfc65"
ACCOUNT: dict[str, Any] = {
    "ims_org": "{IMS_ORG}",
    "sandbox_name": "{SANDBOX_NAME}",
    "client_id": "{API_KEY}",
    "access_token": "{ACCESS_TOKEN}",
}
XCORE = AdobeSettings(api="xcore", container_id=CONTAINER, **ACCOUNT)
DPS = AdobeSettings(api="dps", **ACCOUNT)


def offer(changes: dict[str, Any] | None = None, **values: Any) -> FallbackOffer:
    given = {"status": "approved"} if changes is None else changes
    return FallbackOffer.model_validate({"instance_id": OFFER, "changes": given, **values})


def patched(*operations: dict[str, Any], **values: Any) -> FallbackOffer:
    return offer({"patch": list(operations)}, **values)


def op(name: str, path: str, *value: Any) -> dict[str, Any]:
    """An operation; the next argument is its value, or its `from`."""
    members = ("op", "path", "from" if name in {"copy", "move"} else "value")
    return dict(zip(members, (name, path, *value), strict=False))


def complaints(values: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by place."""
    with pytest.raises(ValidationError) as caught:
        FallbackOffer.model_validate({"instance_id": OFFER, **values})
    return {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}


def is_accepted(**values: Any) -> bool:
    try:
        FallbackOffer.model_validate(
            {"instance_id": OFFER, "changes": {"status": "draft"}, **values}
        )
    except ValidationError:
        return False
    return True


# --------------------------------------------------------------------------- what a field may be


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return value


CHANGES = [
    # SERVICE: three statuses
    ({"status": "draft"}, True),
    ({"status": "approved"}, True),
    ({"status": "archived"}, True),
    ({"status": "live"}, False),  # a decision's
    ({"status": "Approved"}, False),
    ({"status": None}, False),
    ({"status": ["draft"]}, False),
    # texts
    ({"name": ""}, True),
    ({"description": "äöü 漢字 🎁 {braces}"}, True),
    ({"name": 5}, False),
    ({"name": None}, False),
    ({"name": "\ud800"}, False),
    # RFC 6901: names of a pointer, with ~0 and ~1 for what they may not hold
    ({"/_instance/xdm:name": "x"}, True),
    ({"/a~0b/c~1d": "x"}, True),
    ({"/": "x"}, True),
    ({"//": "x"}, True),
    ({"/a\nb": "x"}, True),
    ({"/a~b": "x"}, False),
    ({"/a~": "x"}, False),
    ({"/a~2": "x"}, False),
    ({"/\ud800": "x"}, False),
    # a pointer column takes text: nothing is guessed to be JSON
    ({"/a": "[1]"}, True),
    ({"/a": "null"}, True),
    ({"/a": None}, False),
    ({"/a": 1}, False),
    ({"/a": True}, False),
    ({"/a": []}, False),
    ({"add:/a/-": "x"}, True),
    ({"add:/a~": "x"}, False),
    ({"add:/a": {}}, False),
    # what is removed needs no value
    ({"remove:/a": True}, True),
    ({"remove:/a": False}, False),
    ({"remove:/a": "true"}, False),
    ({"remove:/a": 1}, False),
    ({"remove:/a~": True}, False),
    # no such columns
    ({"etag": "1"}, False),
    ({"Status": "draft"}, False),
    ({"replace:/a": "x"}, False),
    ({"test:/a": "x"}, False),
    ({"add:a": "x"}, False),
    ({"add:": "x"}, False),
    ({"": "x"}, False),
    # something must change
    ({}, False),
    (None, False),
    ([], False),
    # a good one does not excuse a bad one
    ({"status": "draft", "name": 5}, False),
]
OPERATIONS: list[tuple[Any, bool]] = [
    # RFC 6902, section 4
    (op("add", "/a", 1), True),
    (op("replace", "/a", None), True),
    (op("test", "/a", {"b": [1.5, True, "x", {}]}), True),
    (op("remove", "/a"), True),
    (op("copy", "/a", "/b"), True),
    (op("move", "/a", "/b"), True),
    (op("replace", "", {}), True),
    # without what it needs
    ({"op": "add", "path": "/a"}, False),
    ({"op": "test", "path": "/a"}, False),
    ({"op": "copy", "path": "/a"}, False),
    ({"op": "add", "value": 1}, False),
    ({"path": "/a", "value": 1}, False),
    # RFC 6902, section 4: members that it does not name are ignored
    (op("remove", "/a") | {"value": 1}, True),
    (op("add", "/a", 1) | {"from": "/b"}, True),
    (op("add", "/a", 1) | {"comment": {"a": [None]}}, True),
    (op("add", "/a", 1) | {"comment": 2**63}, False),
    (op("add", "/a", 1) | {"comment": "\ud800"}, False),
    (op("add", "/a", 1) | {"\ud800": 1}, False),
    # with what is none
    (op("ADD", "/a", 1), False),
    (op("merge", "/a", 1), False),
    ({"op": ["add"], "path": "/a", "value": 1}, False),
    ({"op": None, "path": "/a", "value": 1}, False),
    (op("add", "a", 1), False),
    (op("add", "/a~", 1), False),
    (op("add", "/\ud800", 1), False),
    (op("copy", "/a", "b"), False),
    ({"op": "add", "path": 1, "value": 1}, False),
    ({"op": "add", "path": None, "value": 1}, False),
    ("add", False),
    (None, False),
    ([], False),
    # values that are the same after their way through text
    (op("add", "/a", 2**63 - 1), True),
    (op("add", "/a", 2**63), False),
    (op("add", "/a", float("nan")), False),
    (op("add", "/a", [{"b": float("inf")}]), False),
    (op("add", "/a", "\ud800"), False),
    (op("add", "/a", {"\ud800": 1}), False),
    (op("add", "/a", {1: 1}), False),
    (op("add", "/a", (1,)), False),
    (op("add", "/a", b"x"), False),
    (op("add", "/a", deep(100)), True),
    (op("add", "/a", deep(101)), False),
    (op("add", "/a", deep(100_000)), False),
]
ETAGS = [
    # UPDATE, DPS: a whole number; SERVICE: in quotes
    ("2", True),
    ('"2"', True),
    (2, True),
    ("0", True),
    ("1" * 21, True),
    # RFC 9110, 8.8.3: opaque, %x21 and %x23-7E
    ("0a-F", True),
    ("2.0", True),
    ("-1", True),
    ("a,b;c='d'\\e", True),
    ('"!#~"', True),
    ("x" * 200, True),
    ("x" * 201, False),
    ("a b", False),
    ("a\n", False),
    ("a\x7f", False),
    ('"2', False),
    ('2"', False),
    ('a"b', False),
    ('""', False),
    ('W/"2"', False),  # If-Match compares strongly: a weak one never holds
    ("", False),
    ("\u0662", False),
    (True, False),
    (None, False),
    (2.0, False),
]
IDS = [
    (OFFER, True),
    ("xcore:fallback-offer:124e2e764b1ac1b9", True),
    ("a/b?c#d", True),
    # no URL can name these
    ("", False),
    (".", False),
    ("..", False),
    ("\ud800", False),
    (7, False),
    (None, False),
]


@pytest.mark.parametrize(("changes", "accepted"), CHANGES, ids=repr)
def test_what_a_row_may_change(changes, accepted):
    assert is_accepted(changes=changes) is accepted


@pytest.mark.parametrize(
    ("operation", "accepted"), OPERATIONS, ids=[f"{n}" for n, _ in enumerate(OPERATIONS)]
)
def test_what_an_operation_may_be(operation, accepted):
    assert is_accepted(changes={"patch": [operation]}) is accepted
    assert not is_accepted(changes={"patch": [op("add", "/a", 1), operation, 5]})


@pytest.mark.parametrize("value", [[], {}, None, "[]", op("add", "/a", 1)])
def test_a_patch_is_a_list_that_holds_something(value):
    assert complaints({"changes": {"patch": value, "status": "draft"}}) == {
        "changes.patch": "expected a list of at least one operation"
    }


@pytest.mark.parametrize(("etag", "accepted"), ETAGS)
def test_an_etag_is_opaque(etag, accepted):
    assert is_accepted(etag=etag) is accepted


@pytest.mark.parametrize(("text", "accepted"), IDS)
def test_an_id_is_what_a_path_can_name(text, accepted):
    assert is_accepted(instance_id=text) is accepted
    assert is_accepted(container_id=text) is accepted


WORDS = [
    # every column that is wrong, under its own name
    (
        {"status": "live", "/a": 5, "remove:/b": False},
        {
            "changes.status": "expected draft, approved or archived",
            "changes./a": "expected text; other types, and null, go through the column patch",
            "changes.remove:/b": (
                "expected true, which removes it; leave the cell empty to keep it"
            ),
        },
    ),
    # a place within the cell
    (
        {"patch": [op("remove", "/a"), {"op": "add", "path": "b", "valu": 1}]},
        {
            "changes.patch.1.path": (
                "expected a JSON Pointer, as in /_instance/xdm:name; within a name ~ is ~0 and / "
                "is ~1 (item 2, path)"
            ),
            "changes.patch.1.value": "expected a value (item 2, value)",
        },
    ),
    (
        {"patch": [op("merge", "/{a}", 1)]},
        {
            "changes.patch.0.op": (
                "expected one of add, remove, replace, copy, move, test (item 1, op)"
            )
        },
    ),
]


@pytest.mark.parametrize(("changes", "told"), WORDS)
def test_a_complaint_names_the_column_and_what_is_expected(changes, told):
    assert complaints({"changes": changes}) == told


@pytest.mark.parametrize("values", [{}, {"changes": {}}])
def test_a_row_without_a_change_learns_which_columns_change_something(values):
    told = complaints({"etag": "", **values})
    assert set(told) == {"etag", "changes"}
    for column in ("status", "name", "description", "patch", "/_instance/", "add:", "remove:"):
        assert column in told["changes"]


def test_the_columns_of_a_change():
    cell = next(m for m in FallbackOffer.model_fields["changes"].metadata if hasattr(m, "kind"))
    assert cell.is_spread
    assert {name: member.kind for name, member in cell.members} == {
        "status": CellKind.KEYWORD,
        "name": CellKind.TEXT,
        "description": CellKind.TEXT,
        "patch": CellKind.LIST,
        "/*": CellKind.TEXT,
        "add:/*": CellKind.TEXT,
        "remove:/*": CellKind.BOOLEAN,
    }


# ------------------------------------------------------------------------------------ requests


def test_the_request_of_the_source():
    """UPDATE, its curl command; `Authorization` is added by whoever holds the credentials."""
    request = FALLBACK_OFFER.encode(XCORE, (offer(),))
    assert request.method == "PATCH"
    assert XCORE.base_url + request.path == (
        "https://platform.adobe.io/data/core/xcore/e0bd8463-0913-4ca1-bd84-6309134ca1f6"
        "/instances/b3966680-13ec-11eb-9c20-8323709cfc65"
    )
    # The table of the same page has application/schema-instance+json instead. The command is
    # right: all other update pages have it in their tables too, and SERVICE says the same.
    assert dict(request.headers) == {
        "Accept": "application/vnd.adobe.platform.xcore.xdm.receipt+json; version=1",
        "Content-Type": (
            "application/vnd.adobe.platform.xcore.patch.hal+json; version=1; "
            'schema="https://ns.adobe.com/experience/offer-management/fallback-offer;version=0.1"'
        ),
        "x-api-key": "{API_KEY}",
        "x-gw-ims-org-id": "{IMS_ORG}",
        "x-sandbox-name": "{SANDBOX_NAME}",
    }
    body = b'[{"op":"replace","path":"/_instance/xdm:status","value":"approved"}]'
    assert request.body == body


def test_the_request_of_the_successor():
    """DPS, its curl command."""
    changes = {
        "name": "Updated fallback offer",
        "description": "Updated fallback offer description",
    }
    request = FALLBACK_OFFER.encode(DPS, (offer(changes, instance_id="fallbackOffer1234"),))
    assert request.method == "PATCH"
    assert DPS.base_url + request.path == (
        "https://platform.adobe.io/data/core/dps/offers/fallbackOffer1234?offer-type=fallback"
    )
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "x-api-key": "{API_KEY}",
        "x-gw-ims-org-id": "{IMS_ORG}",
        "x-sandbox-name": "{SANDBOX_NAME}",
    }
    assert json.loads(request.body) == [
        {"op": "replace", "path": "/name", "value": "Updated fallback offer"},
        {
            "op": "replace",
            "path": "/description",
            "value": "Updated fallback offer description",
        },
    ]


def test_operations_go_in_the_order_of_the_columns():
    patch = [op("add", "/_instance/xdm:tags/-", 5), op("remove", "/_instance/a")]
    changes = {
        "/_instance/xdm:name": "Sömmer",
        "remove:/_instance/b": True,
        "patch": patch,
        "add:/_instance/add:/c": "x",
        "status": "draft",
    }
    operations = [
        op("replace", "/_instance/xdm:name", "Sömmer"),
        op("remove", "/_instance/b"),
        *patch,
        op("add", "/_instance/add:/c", "x"),
        op("replace", "/_instance/xdm:status", "draft"),
    ]
    assert json.loads(FALLBACK_OFFER.encode(XCORE, (offer(changes),)).body) == operations
    turned = dict(reversed(changes.items()))
    request = FALLBACK_OFFER.encode(XCORE, (offer(turned),))
    assert json.loads(request.body) == [
        operations[5],
        operations[4],
        *patch,
        operations[1],
        operations[0],
    ]


@pytest.mark.parametrize("etag", ["7", '"7"', 7])
def test_an_etag_is_sent_in_quotes(etag):
    """SERVICE: If-Match, a quoted text."""
    assert FALLBACK_OFFER.encode(XCORE, (offer(etag=etag),)).headers["If-Match"] == '"7"'
    assert "If-Match" not in FALLBACK_OFFER.encode(XCORE, (offer(),)).headers


def test_the_headers_of_an_account_are_one_object():
    first, second = (FALLBACK_OFFER.encode(s, (offer(),)) for s in (XCORE, XCORE.model_copy()))
    assert first.headers is second.headers
    assert FALLBACK_OFFER.encode(DPS, (offer(),)).headers is not first.headers


def test_a_hostile_id_stays_one_segment():
    job = offer(instance_id="../../x?y#z", container_id="a/b")
    path = FALLBACK_OFFER.encode(XCORE, (job,)).path
    assert path == "/xcore/a%2Fb/instances/..%2F..%2Fx%3Fy%23z"
    path = FALLBACK_OFFER.encode(DPS, (job,)).path
    assert path == "/dps/offers/..%2F..%2Fx%3Fy%23z?offer-type=fallback"


# ------------------------------------------------------------------------- accounts and entities

WRONG_SETTINGS = [
    # which of the two APIs is chosen, never inherited
    ({"api": None}, "api"),
    ({"api": "XCORE"}, "api"),
    # where the offers are
    ({"container_id": None}, "container_id is missing"),
    ({"container_id": "a|b"}, "container_id"),
    ({"container_id": ".."}, "container_id"),
    ({"containers": ["a b"]}, "containers"),
    ({"api": "dps"}, "belong to xcore"),
    ({"api": "dps", "container_id": None, "containers": ["x"]}, "belong to xcore"),
    # headers that would not be one
    ({"ims_org": ""}, "ims_org"),
    ({"ims_org": "a\r\nb: c"}, "ims_org"),
    ({"sandbox_name": "prod "}, "sandbox_name"),
    ({"sandbox_name": "größe"}, "sandbox_name"),
    ({"client_id": ""}, "client_id"),
    # exactly one way to sign in
    ({"access_token": None}, "client_secret with scopes, or access_token, is missing"),
    ({"client_secret": "s", "scopes": ["a"]}, "two ways"),
    ({"access_token": None, "client_secret": "s"}, "scopes is missing"),
    ({"access_token": None, "scopes": ["a"]}, "client_secret with scopes"),
    ({"scopes": ["a"]}, "scopes belongs to client_secret"),
    ({"access_token": None, "client_secret": "s", "scopes": ["a,b"]}, "scopes"),
    ({"access_token": None, "client_secret": "s", "scopes": [""]}, "scopes"),
    ({"access_token": ""}, "access_token"),
    # credentials go there
    ({"token_url": "http://ims.example/token"}, "token_url"),
    ({"token_url": "http://127.0.0.1.example/token"}, "token_url"),
    ({"token_url": "http://127.0.0.1@ims.example/token"}, "token_url"),
    ({"token_url": "https://user:secret@ims.example/token"}, "token_url"),
    ({"token_url": "https://ims.example"}, "token_url"),
    ({"token_url": "https://ims.example/a b"}, "token_url"),
    ({"token_url": "https://ims.example/a?b"}, "token_url"),
    ({"token_url": "https://ims.example:x/a"}, "token_url"),
    ({"token_url": "https://[::1/a"}, "token_url"),
    ({"token_url": "ims.example/token"}, "token_url"),
    ({"token_url": "https:///token"}, "token_url"),
    ({"token_url": "ftp://127.0.0.1/token"}, "token_url"),
    ({"clientid": "x"}, "clientid"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG_SETTINGS)
def test_settings_that_cannot_be(wrong, told):
    values = {"api": "xcore", "container_id": CONTAINER, **ACCOUNT, **wrong}
    given = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(ValidationError, match=told) as caught:
        AdobeSettings.model_validate(given)
    shown = [(e["loc"], e["msg"]) for e in caught.value.errors()]
    assert "user:secret" not in str(shown)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/t", "http://[::1]:1/t", "http://localhost/t", "https://x.example/t"]
)
def test_credentials_may_go_where_nobody_listens_in(url):
    assert AdobeSettings.model_validate({**DPS.model_dump(), "token_url": url}).token_url == url


def test_all_faults_of_an_account_are_reported_at_once():
    with pytest.raises(ValidationError) as caught:
        AdobeSettings(api="xcore", **{**ACCOUNT, "access_token": None, "token_url": "http://x/y"})
    told = caught.value.errors()[0]["msg"]
    assert "access_token" in told
    assert "token_url" in told
    assert "container_id" in told


SIGNED = AdobeSettings.model_validate(
    {
        "api": "dps",
        "ims_org": "o",
        "sandbox_name": "prod",
        "client_id": "id-é&=+",
        "client_secret": "very secret",
        "scopes": ["openid", "a/b.c"],
    }
)


def test_a_token_is_requested_with_the_clients_credentials():
    """OAUTH."""
    call = VENDOR.authenticate(SIGNED)
    assert isinstance(call, TokenCall)
    url = call.base_url + call.request.path
    assert url == "https://ims-na1.adobelogin.com/ims/token/v3"
    assert call.request.method == "POST"
    assert call.request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(call.request.body.decode(), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["id-é&=+"],
        "client_secret": ["very secret"],
        "scope": ["openid,a/b.c"],
    }
    assert {each.get_secret_value() for each in call.secrets} == {"id-é&=+", "very secret"}
    assert call.basic is None
    assert "secret" not in repr(call).replace("secrets", "").replace("Secret", "")


def test_a_token_is_requested_where_the_account_says():
    here = SIGNED.model_copy(update={"token_url": "http://127.0.0.1:8080/ims/token/v3"})
    call = VENDOR.authenticate(here)
    assert (call.base_url, call.request.path) == ("http://127.0.0.1:8080", "/ims/token/v3")


def test_a_ready_token_is_taken_as_it_is():
    ready = VENDOR.authenticate(DPS)
    assert isinstance(ready, Bearer)
    assert ready.token.get_secret_value() == "{ACCESS_TOKEN}"


TOKENS = [
    # OAUTH: the sample
    (b'{"access_token": "t.1-2_3", "expires_in": 86399}', ("t.1-2_3", 86399.0)),
    (b'{"access_token": "t", "expires_in": 0.5}', ("t", 0.5)),
    # a lifetime that is none
    (b'{"access_token": "t"}', ("t", None)),
    (b'{"access_token": "t", "expires_in": null}', ("t", None)),
    (b'{"access_token": "t", "expires_in": "86399"}', ("t", None)),
    (b'{"access_token": "t", "expires_in": true}', ("t", None)),
    (b'{"access_token": "t", "expires_in": 0}', ("t", None)),
    (b'{"access_token": "t", "expires_in": -1}', ("t", None)),
    (b'{"access_token": "t", "expires_in": NaN}', ("t", None)),
    (b'{"access_token": "t", "expires_in": 1e999}', ("t", None)),
    (b'{"access_token": "t", "expires_in": 86399000}', ("t", None)),  # milliseconds
    # no token
    (b'{"access_token": ""}', None),
    (b'{"access_token": "a b"}', None),
    (b'{"access_token": "a\\r\\nb"}', None),
    (b'{"access_token": "\\u00e9"}', None),
    (b'{"access_token": 5}', None),
    (b'{"error": "invalid_client"}', None),
    (b"[]", None),
    (b"", None),
    (b"<html>Sign in</html>", None),
]


@pytest.mark.parametrize(("body", "expected"), TOKENS)
def test_what_is_a_token(body, expected):
    read = VENDOR.authenticate(SIGNED).read
    found = read(Reply(200, {}, body))
    assert (isinstance(found, Token) and (found.value.get_secret_value(), found.lifetime_s)) == (
        expected or False
    )


def test_no_credential_is_shown():
    shown = repr(SIGNED) + repr(DPS) + repr(VENDOR.authenticate(DPS))
    assert "very secret" not in shown
    assert "ACCESS_TOKEN" not in shown
    request = FALLBACK_OFFER.encode(SIGNED, (offer(),))
    assert "very secret" not in str(request)


def test_one_entity_has_one_key():
    written_otherwise = XCORE.model_copy(update={"base_url": "HTTPS://Platform.Adobe.IO:443/x"})
    key = FALLBACK_OFFER.entity(XCORE, offer())
    assert key == ("adobe", "https://platform.adobe.io", CONTAINER, "offer", OFFER)
    assert FALLBACK_OFFER.entity(written_otherwise, offer()) == key
    assert FALLBACK_OFFER.entity(XCORE, offer(container_id=CONTAINER)) == key
    # every organisation has a sandbox of that name
    assert FALLBACK_OFFER.entity(DPS, offer()).scope == "{IMS_ORG}/{SANDBOX_NAME}"


def test_another_container_of_the_account():
    both = XCORE.model_copy(update={"containers": ("other",)})
    job = offer(container_id="other")
    assert FALLBACK_OFFER.refuse(both, job) is None
    assert "other" in (FALLBACK_OFFER.refuse(XCORE, job) or "")
    assert "`containers`" in (FALLBACK_OFFER.refuse(XCORE, job) or "")
    assert FALLBACK_OFFER.encode(both, (job,)).path.startswith("/xcore/other/instances/")
    assert FALLBACK_OFFER.entity(both, job).scope == "other"


def test_what_an_account_reaches():
    assert VENDOR.scope(XCORE) == f"sandbox {{SANDBOX_NAME}}, container {CONTAINER}"
    assert VENDOR.scope(DPS) == "sandbox {SANDBOX_NAME}"


# ------------------------------------------------------------- what an API takes, what is repeated

ROOT = "/_instance"
UNGUARDED = "sent twice"
GUARD: Any = FALLBACK_OFFER.guard

DIALECTS = [
    # UPDATE: add, replace and remove
    (XCORE, offer({f"{ROOT}/a": "x", f"add:{ROOT}/b": "x"}), None),
    (XCORE, offer({f"remove:{ROOT}/b": True}, etag=1), None),
    (XCORE, patched(op("replace", f"{ROOT}/a", 1)), None),
    (XCORE, patched(op("test", f"{ROOT}/a", 1)), "no operation test"),
    (XCORE, patched(op("copy", f"{ROOT}/a", f"{ROOT}/b")), "no operation copy"),
    (XCORE, patched(op("move", f"{ROOT}/a", f"{ROOT}/b")), "no operation move"),
    # DPS: copy and test as well, move not
    (DPS, patched(op("test", "/a", 1), op("replace", "/a", 2), op("copy", "/b", "/c")), None),
    (DPS, patched(op("move", "/a", "/b")), "no operation move"),
    # UPDATE: pointers start at /_instance/, DPS: at the root
    (XCORE, offer({"/xdm:name": "x"}), "/xdm:name: pointers of xcore"),
    (XCORE, offer({"add:/_instancex/a": "x"}), "start with /_instance/"),
    (XCORE, offer({"remove:/_instance": True}, etag=1), "start with /_instance/"),
    (XCORE, patched(op("replace", "", {})), "an empty pointer"),
    (DPS, offer({"/_instance/xdm:name": "x"}), "start at the root"),
    (DPS, offer({"/_instance": "x"}), "start at the root"),
    (DPS, patched(op("test", "/b", 1), op("copy", "/b", "/_instance/a")), "start at the root"),
    (DPS, offer({"/_instances": "x"}), None),
    # columns with a name of their own
    (XCORE, offer({"status": "draft"}), None),
    (XCORE, offer({"name": "x"}), "/_instance/xdm:name"),
    (XCORE, offer({"description": "x"}), "/_instance/xdm:description"),
    (DPS, offer({"status": "draft", "name": "x", "description": "x"}), None),
    # one of both says what else is needed
    (DPS, offer(container_id=CONTAINER), "container_id: dps"),
    (DPS, offer(etag="1"), "put a test first"),
    (XCORE, offer(etag="1", container_id=CONTAINER), None),
    # two columns for one thing
    (XCORE, offer({"status": "draft", f"{ROOT}/xdm:status": "approved"}), "keep one"),
    (DPS, offer({"/name": "x", "add:/name": "y"}), "/name and add:/name set the same"),
    (DPS, offer({"/name": "x", "name": "y"}), "keep one"),
    (DPS, offer({"/name": "x", "/name2": "y"}), None),
    # a patch may set one thing twice: it has an order of its own
    (DPS, patched(op("replace", "/name", "x"), op("replace", "/name", "y")), None),
    # a harmful step gets a precondition from a read, if something can be tested
    (XCORE, offer({f"add:{ROOT}/a/-": "x"}), None),
    (XCORE, offer({f"remove:{ROOT}/a": True}), None),
    (DPS, offer({"add:/a/-": "x"}), None),
    (DPS, patched(op("copy", "/b/-", "/a")), None),
    (DPS, patched(op("copy", "/a", "/b"), op("replace", "/c", 1)), None),
    (DPS, patched(op("copy", "/a", "/b")), UNGUARDED),
    (DPS, patched(op("add", "/-", 1)), UNGUARDED),
    (DPS, patched(op("copy", "/a", "/b"), op("move", "/a", "/c")), "no operation move"),
]


@pytest.mark.parametrize(("account", "job", "told"), DIALECTS)
def test_what_each_of_the_two_apis_takes(account, job, told):
    refused = FALLBACK_OFFER.refuse(account, job)
    assert refused is None if told is None else told in (refused or "")


def test_all_that_an_api_does_not_take_is_reported_at_once():
    job = offer({"/_instance/a": "x", "/_instance/b": "x"}, etag="1", container_id="c")
    told = FALLBACK_OFFER.refuse(DPS, job) or ""
    for place in ("etag", "container_id", "/_instance/a", "/_instance/b"):
        assert f"{place}:" in told
    many = offer({f"/a{n}": "x" for n in range(20)})
    assert "and 15 more" in (FALLBACK_OFFER.refuse(XCORE, many) or "")


DRAFT = op("test", "/status", "draft")
SUBMIT = op("replace", "/status", "approved")
APPEND = op("add", "/tags/-", "x")
KEEP = op("replace", "/tags", ["a"])
TAGS = op("test", "/tags", ["a"])

REPEATS = [
    # a value is set: twice is as good as once
    (XCORE, offer({"status": "draft", f"{ROOT}/a": "x"}), True),
    (DPS, offer({"status": "draft", "name": "x", "add:/labels": "x"}), True),
    (DPS, patched(op("replace", "/tags/0", 1)), True),
    (DPS, patched(op("add", "", {})), True),
    (DPS, patched(DRAFT, op("replace", "/name", "x")), True),
    # in a list it makes room, and so does a member whose name could be a place
    (XCORE, offer({f"add:{ROOT}/a/-": "x"}), False),
    (XCORE, offer({f"add:{ROOT}/a/0": "x"}), False),
    (XCORE, offer({f"add:{ROOT}/a/12": "x"}), False),
    (XCORE, offer({f"add:{ROOT}/a/1x": "x"}), True),
    (XCORE, offer({f"add:{ROOT}/0/a": "x"}), True),
    # the second time another one goes, or an error comes
    (XCORE, offer({f"remove:{ROOT}/a": True}), False),
    (XCORE, patched(op("replace", f"{ROOT}/a", 1), op("remove", f"{ROOT}/b/0")), False),
    (DPS, patched(op("copy", "/a", "/b")), False),
    # SERVICE: a stale etag gets 409
    (XCORE, offer({f"add:{ROOT}/a/-": "x"}, etag="1"), True),
    (XCORE, offer({f"remove:{ROOT}/a": True}, etag='"1"'), True),
    # a test that does not hold any more ends the whole patch
    (DPS, patched(DRAFT, SUBMIT, APPEND), True),
    (DPS, patched(DRAFT, APPEND, SUBMIT), True),
    (DPS, patched(DRAFT, op("add", "/status", "approved"), APPEND), True),
    (DPS, patched(DRAFT, op("remove", "/status"), APPEND), True),
    (DPS, patched(op("test", "/a", 1), DRAFT, SUBMIT, APPEND), True),
    (DPS, offer({"patch": [DRAFT, APPEND], "status": "approved"}), True),
    (DPS, patched(TAGS, APPEND), True),
    (DPS, patched(TAGS, APPEND, APPEND), True),
    # ... but it holds again
    (DPS, patched(DRAFT, APPEND), False),
    (DPS, patched(DRAFT, op("replace", "/status", "draft"), APPEND), False),
    (DPS, patched(DRAFT, SUBMIT, APPEND, op("replace", "/status", "draft")), False),
    (DPS, patched(DRAFT, op("remove", "/status"), APPEND, op("add", "/status", "draft")), False),
    (DPS, patched(DRAFT, SUBMIT, APPEND, op("copy", "/status", "/b")), False),
    (DPS, patched(DRAFT, SUBMIT, APPEND, op("replace", "", {"status": "draft"})), False),
    (DPS, patched(TAGS, APPEND, op("remove", "/tags/1")), False),
    (DPS, patched(TAGS, KEEP, APPEND, KEEP), False),
    (DPS, patched(op("test", "/tags", "a"), APPEND), False),
    # ... or tests a place that moves
    (DPS, patched(op("test", "/tags/0", "a"), op("remove", "/tags/0")), False),
    (DPS, patched(op("test", "/tags/1", "a"), op("replace", "/tags/1", "b"), APPEND), False),
    # ... or does not come first
    (DPS, patched(APPEND, DRAFT, SUBMIT), False),
    (DPS, offer({"add:/tags/-": "x", "patch": [DRAFT, SUBMIT]}), False),
    # what only looks different: 1 and 1.0 are the same number
    (DPS, patched(op("test", "/a", 1), op("replace", "/a", 1.0), APPEND), False),
]


@pytest.mark.parametrize(("account", "job", "harmless"), REPEATS)
def test_what_may_be_sent_twice(account, job, harmless):
    assert FALLBACK_OFFER.repeatable(account, job) is harmless
    assert GUARD.needs(account, job) is not harmless


@pytest.mark.parametrize(("account", "job", "harmless"), REPEATS)
def test_without_guard_all_is_sent_and_nothing_harmful_repeated(account, job, harmless):
    bold = account.model_copy(update={"preconditions": False})
    assert FALLBACK_OFFER.refuse(bold, job) is None
    assert FALLBACK_OFFER.repeatable(bold, job) is harmless
    assert not GUARD.needs(bold, job)


HELD = State({"status": "draft", "tags": ["a"], "labels": ["l"], "n": 5}, "3")
INNER = State({"_instance": dict(HELD.fields)}, "3")


@pytest.mark.parametrize(
    ("given", "tests"),
    [
        ({"add:/tags/-": "x"}, [op("test", "/tags", ["a"])]),
        ({"add:/tags/0": "x", "name": "y"}, [op("test", "/tags", ["a"])]),
        ({"remove:/labels": True}, [op("test", "/labels", ["l"])]),
        ({"remove:/tags/0": True}, [op("test", "/tags", ["a"])]),
        (
            {"add:/tags/-": "x", "remove:/labels": True},
            [op("test", "/tags", ["a"]), op("test", "/labels", ["l"])],
        ),
        ({"patch": [op("copy", "/tags/-", "/status")]}, [op("test", "/tags", ["a"])]),
        # if the place of the harmful step decides nothing, another place that changes does
        (
            {"patch": [op("copy", "/status", "/n")], "description": "x", "/n": "6"},
            [op("test", "/status", "draft"), op("test", "/n", 5)],
        ),
        # nothing there to test: nothing would keep it from happening twice
        ({"add:/nowhere/-": "x"}, None),
        ({"remove:/nowhere": True}, None),
    ],
)
def test_the_test_of_a_guard_is_what_was_read(given, tests):
    job = GUARD.guarded(DPS, offer(given), HELD)
    if tests is None:
        assert job is None
        return
    assert json.loads(FALLBACK_OFFER.encode(DPS, (job,)).body) == [
        *tests,
        *json.loads(FALLBACK_OFFER.encode(DPS, (offer(given),)).body),
    ]
    assert FALLBACK_OFFER.repeatable(DPS, job)
    assert GUARD.expected(DPS, job).startswith(f"{tests[0]['path']} = ")


def test_the_guard_of_xcore_is_the_etag_that_was_read():
    append = offer({f"add:{ROOT}/tags/-": "x"})
    job = GUARD.guarded(XCORE, append, INNER)
    request = FALLBACK_OFFER.encode(XCORE, (job,))
    assert request.headers["If-Match"] == '"3"'
    assert request.body == FALLBACK_OFFER.encode(XCORE, (append,)).body  # xcore knows no test
    assert (GUARD.expected(XCORE, job), GUARD.needs(XCORE, job)) == ("etag 3", False)
    assert GUARD.guarded(XCORE, append, INNER._replace(etag=None)) is None


@pytest.mark.parametrize(("account", "held"), [(XCORE, INNER), (DPS, HELD)])
@pytest.mark.parametrize(
    ("tags", "etag", "told"),
    [
        (["a", "x"], "4", ()),  # applied
        (["a"], "3", (True,)),  # certainly not
        (["a"], "4", (True,)),  # nor when something else was changed
        (["a", "y"], "4", (False,)),  # whose change came first, or last, nobody knows
        (["a", "x", "y"], "5", (False,)),
    ],
)
def test_what_a_guarded_row_left_is_reported_by_what_was_there_before(
    account, held, tags, etag, told
):
    root = ROOT if account is XCORE else ""
    job = GUARD.guarded(account, offer({f"add:{root}/tags/-": "x"}), held)
    fields = {**HELD.fields, "tags": tags}
    state = State({"_instance": fields} if account is XCORE else fields, etag)
    found = FALLBACK_OFFER.reading.differences(account, job, state)
    assert tuple(each.is_decided for each in found if each.field != "etag") == told


DOUBTS = [
    (offer({"/name": "x"}), ()),
    # SERVICE: no constraints, no rank; the sample of DPS sends both
    (offer({f"{ROOT}/xdm:rank/xdm:priority": "1"}), (f"{ROOT}/xdm:rank/xdm:priority",)),
    (patched(op("remove", "/selectionConstraint")), ("/selectionConstraint",)),
    (patched(op("test", "/rank", 1), SUBMIT), ()),
    # a row that changes nothing
    (patched(DRAFT), ("patch",)),
    # RFC 6902, section 4: ignored by whoever applies it
    (patched(SUBMIT | {"comment": "x"}), ("patch",)),
    (patched(op("remove", "/a") | {"value": 1}), ("patch",)),
]


def test_members_that_json_patch_ignores_are_sent_as_given():
    job = patched(SUBMIT | {"comment": "x"})
    assert json.loads(FALLBACK_OFFER.encode(DPS, (job,)).body) == [SUBMIT | {"comment": "x"}]
    assert FALLBACK_OFFER.warn(job) == (
        f"patch: JSON Patch ignores comment of {SUBMIT['op']}; it is sent as given",
    )


@pytest.mark.parametrize(("job", "places"), DOUBTS)
def test_what_is_only_inferred_warns(job, places):
    assert tuple(doubt.partition(": ")[0] for doubt in FALLBACK_OFFER.warn(job)) == places


# ------------------------------------------------------------------------------------- replies

OK, NO, LATER, STOP = Verdict.OK, Verdict.REJECTED, Verdict.TRANSIENT, Verdict.FATAL
SLOWER = Verdict.THROTTLED


def gateway(code: Any, message: Any = "words") -> bytes:
    return json.dumps({"error_code": code, "message": message}).encode()


def problem(kind: Any = "UPOX-1-422", **members: Any) -> bytes:
    body = {"type": f"https://ns.adobe.com/aep/errors/{kind}", "title": "A title", **members}
    return json.dumps(body).encode()


BLANK = b'{"type": "about:blank", "title": "Not Found", "status": 404}'

REPLIES = [
    # TROUBLE: the gateway's codes; what is the same for every row stops the account
    (400, gateway("400003"), STOP, "400003", "ims_org"),
    (401, gateway("401013"), STOP, "401013", "access_token"),
    (403, gateway("403000"), STOP, "403000", "client_id"),
    (403, gateway("403003"), STOP, "403003", "client_id"),
    (401, gateway("403010"), STOP, "403010", "proxy"),
    (403, gateway("403025"), STOP, "403025", "ims_org"),
    (401, gateway(401013), STOP, "401013", "access_token"),
    # LIMITS
    (429, gateway("429050"), SLOWER, "429050", "quota"),
    (429, b"", SLOWER, "http_429", "quota"),
    # the status has the last word
    (503, gateway("401013"), LATER, "401013", "harmless"),
    (429, gateway("403025"), SLOWER, "403025", "ims_org"),
    # an error within a success is a refusal all the same
    (200, gateway("401013"), STOP, "401013", "access_token"),
    (200, gateway("429050"), SLOWER, "429050", "quota"),
    (207, problem(status=422), NO, "UPOX-1-422", "correct the row"),
    (200, problem(status=500), LATER, "UPOX-1-422", "harmless"),
    # a receipt that names the offer, and nothing else
    (200, b'{"instanceId": "b3966680-13ec-11eb-9c20-8323709cfc65", "repo:etag": 2}', OK, "", ""),
    (200, b'{"instanceId": "x", "@id": "b3966680-13ec-11eb-9c20-8323709cfc65"}', OK, "", ""),
    (200, b'{"instanceId": "another", "repo:etag": 2}', LATER, "not_confirmed", "harmless"),
    (
        200,
        b'{"id": "b3966680-13ec-11eb-9c20-8323709cfc65", "etag": 2}',
        LATER,
        "not_confirmed",
        "harmless",
    ),
    (200, b'{"repo:etag": 2}', LATER, "not_confirmed", "harmless"),
    (200, b"", LATER, "not_confirmed", "harmless"),
    (200, b"[]", LATER, "not_confirmed", "harmless"),
    (
        202,
        b'{"instanceId": "b3966680-13ec-11eb-9c20-8323709cfc65"}',
        LATER,
        "not_confirmed",
        "harmless",
    ),
    (204, b"", LATER, "not_confirmed", "harmless"),
    # TROUBLE, AJO: problems of the platform
    (422, problem(status=422), NO, "UPOX-1-422", "correct the row"),
    (400, problem(kind="403025"), STOP, "403025", "ims_org"),
    (500, b'{"error-chain": [5, {"errorCode": "X-500"}]}', LATER, "X-500", "harmless"),
    (404, BLANK, NO, "http_404", "container_id"),
    # SERVICE: 409 is the stale etag's
    (409, problem("E-409"), NO, "E-409", "check the entity"),
    (422, b"plain words", NO, "http_422", "correct the row"),
    (403, b"", STOP, "http_403", "sandbox_name"),
    # the gateway gives up after 60 s, and may go on
    (504, b"upstream timed out", LATER, "http_504", "harmless"),
    (502, b"<html>nginx</html>", LATER, "http_502", "harmless"),
    (200, b"<html>Sign in</html>", LATER, "not_the_vendor", "proxy"),
    # a tolerant reader
    (422, b'{"error_code": ["x"], "message": {}, "type": 5}', NO, "http_422", "correct"),
    (422, b'{"error-chain": {}, "report": [], "title": 5}', NO, "http_422", "correct"),
    (422, b'{"error_code": true, "type": "https://x.example/y"}', NO, "http_422", "correct"),
    (404, b"[]", NO, "http_404", "instance_id"),
]


@pytest.mark.parametrize(("status", "body", "verdict", "code", "hint"), REPLIES)
def test_what_a_reply_means(status, body, verdict, code, hint):
    (answer,) = FALLBACK_OFFER.decode(XCORE, (offer(),), Reply(status, {}, body))
    assert (answer.verdict, answer.code, answer.http_status) == (verdict, code, status)
    assert hint in answer.hint
    of_success = {OK: Effect.APPLIED, LATER: Effect.MAYBE}.get(verdict, Effect.NONE)
    effects = {2: of_success, 4: Effect.NONE}
    assert answer.effect is effects.get(status // 100, Effect.MAYBE)


def answered(reply: Reply | NoReply, job: FallbackOffer, account: AdobeSettings = XCORE) -> Any:
    (answer,) = FALLBACK_OFFER.decode(account, (job,), reply)
    return answer


def test_a_stale_etag_is_reported_as_such():
    for status in (409, 412):
        stale = answered(Reply(status, {}, b""), offer(etag="1"))
        assert stale.verdict is Verdict.REJECTED
        assert "someone changed the offer" in stale.hint
        assert "someone changed" not in answered(Reply(status, {}, b""), offer()).hint


def test_an_offer_that_is_not_there():
    assert "container_id" in answered(Reply(404, {}, b""), offer()).hint
    assert "sandbox_name" in answered(Reply(404, {}, b""), offer(), DPS).hint


def test_the_words_of_adobe():
    body = problem(
        detail="The value\n is wrong",
        message="A title",
        report={
            "tenantInfo": {"imsOrgId": "secret org"},
            "additionalContext": {"field": "xdm:name", "n": 5},
        },
    )
    answer = answered(Reply(422, {}, body), offer())
    assert answer.message == "A title; The value is wrong; xdm:name"
    body = problem(report={"additionalContext": "Session expired"})
    assert answered(Reply(401, {}, body), offer()).message == "A title; Session expired"
    assert answered(Reply(400, {}, gateway("1", "x\x1b[1m y")), offer()).message == "x [1m y"
    assert "plain words" in answered(Reply(400, {}, b"plain words"), offer()).message


def test_the_id_of_an_exchange():
    of_header = {"x-request-id": "of-header"}
    body = problem(**{"request-id": "of-body"})
    for status in (200, 422):
        assert answered(Reply(status, of_header, body), offer()).request_id == "of-body"
        assert answered(Reply(status, of_header, b""), offer()).request_id == "of-header"
        assert answered(Reply(status, {}, b""), offer()).request_id == ""


def test_throttling_has_the_wait():
    answer = answered(Reply(429, {"retry-after": "2400"}, gateway("429050")), offer())
    assert (answer.verdict, answer.effect, answer.retry_after_s) == (SLOWER, Effect.NONE, 2400.0)


UPDATED = (
    b'{"instanceId": "b3966680-13ec-11eb-9c20-8323709cfc65", "@id": "xcore:fallback-offer:1", '
    b'"repo:etag": 2}'
)

RECEIPTS = [
    # UPDATE: its sample
    (
        "b3966680-13ec-11eb-9c20-8323709cfc65",
        UPDATED,
        XCORE,
        '{"etag":2,"id":"b3966680-13ec-11eb-9c20-8323709cfc65"}',
    ),
    ("xcore:fallback-offer:1", b'{"@id": "xcore:fallback-offer:1"}', XCORE, None),
    # DPS: its sample
    ("fallbackOffer1", b'{"id": "fallbackOffer1", "sandboxId": "s", "etag": 2}', DPS, None),
    # what there is of it
    ("x", b'{"id": "x", "etag": 0}', DPS, '{"etag":0,"id":"x"}'),
    ("x", b'{"id": "x", "etag": "7"}', DPS, '{"etag":"7","id":"x"}'),
    ("x", b'{"id": "x", "etag": "\\"a-7\\""}', DPS, '{"etag":"a-7","id":"x"}'),
    # all of it or nothing: one that is cut is another one
    ("x", b'{"id": "x", "etag": "' + b"e" * 200 + b'"}', DPS, f'{{"etag":"{"e" * 200}","id":"x"}}'),
    ("x", b'{"id": "x", "etag": "' + b"e" * 201 + b'"}', DPS, '{"id":"x"}'),
    ("x", b'{"id": "x", "etag": true}', DPS, '{"id":"x"}'),
    ("x", b'{"id": "x", "etag": [1]}', DPS, '{"id":"x"}'),
]


@pytest.mark.parametrize(("instance_id", "body", "account", "receipt"), RECEIPTS)
def test_what_is_kept_of_a_receipt(instance_id, body, account, receipt):
    answer = answered(Reply(200, {}, body), offer(instance_id=instance_id), account)
    assert (answer.verdict, answer.effect, answer.code) == (OK, Effect.APPLIED, "")
    assert json.loads(answer.receipt)["id"] == instance_id
    assert receipt in (None, answer.receipt)


def test_what_another_offer_s_receipt_says_is_reported():
    answer = answered(Reply(200, {}, b'{"instanceId": "SOMEBODY-ELSE", "repo:etag": 7}'), offer())
    assert answer.receipt == ""
    assert "SOMEBODY-ELSE" in answer.message
    assert "200 with a receipt whose instanceId or @id is the offer's" in answer.message


@pytest.mark.parametrize("status", [200, 400, 422, 500])
def test_only_what_was_applied_has_a_receipt(status):
    answer = answered(Reply(status, {}, UPDATED), offer())
    assert bool(answer.receipt) is (answer.verdict is OK)
    assert answered(Reply(200, {}, b"<html>etag</html>"), offer()).receipt == ""


def test_an_etag_given_back_can_be_given_again():
    answer = answered(Reply(200, {}, UPDATED), offer(etag=1))
    assert offer(etag=json.loads(answer.receipt)["etag"]).etag == "2"


def test_what_silence_means_depends_on_the_row():
    silence = NoReply("timeout", "no answer within 65 s", may_have_arrived=True)
    bold = XCORE.model_copy(update={"preconditions": False})
    append = offer({f"add:{ROOT}/a/-": "x"})
    assert "harmless" in answered(silence, offer()).hint
    assert "Adobe refuses" in answered(silence, offer(etag="1")).hint
    assert "Adobe refuses" in answered(silence, patched(DRAFT, SUBMIT, APPEND), DPS).hint
    assert answered(silence, append, bold).hint == HINT_IN_DOUBT
    assert answered(silence, append, bold).effect is Effect.MAYBE


# ----------------------------------------------------------------------------------- properties

texts = st.text(st.characters(codec="utf-8"), max_size=12)
pointers = st.lists(
    texts.map(lambda token: "/" + token.replace("~", "~0").replace("/", "~1")),
    min_size=1,
    max_size=3,
).map("".join)
whole = st.integers(-(2**63) + 1, 2**63 - 1)
values = st.recursive(
    st.none() | st.booleans() | whole | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
operations = st.one_of(
    st.builds(op, st.sampled_from(["add", "replace", "test"]), pointers, values),
    st.builds(op, st.just("remove"), pointers),
    st.builds(op, st.sampled_from(["copy", "move"]), pointers, pointers),
)
members = st.one_of(
    st.tuples(st.just("status"), st.sampled_from(["draft", "approved", "archived"])),
    st.tuples(st.sampled_from(["name", "description"]), texts),
    st.tuples(st.just("patch"), st.lists(operations, min_size=1, max_size=4)),
    st.tuples(pointers, texts),
    st.tuples(pointers.map("add:".__add__), texts),
    st.tuples(pointers.map("remove:".__add__), st.just(True)),
)
changes = st.lists(members, min_size=1, max_size=6).map(dict)


@settings(max_examples=150, deadline=None)
@given(changes, st.sampled_from([XCORE, DPS]), st.none() | st.integers(0, 10**20 - 1).map(str))
def test_a_job_and_its_text_never_differ(given, account, etag):
    job = offer(given, **({} if etag is None else {"etag": etag}))
    again = FallbackOffer.trusted(job.canonical_json())
    assert again == job
    assert list(again.changes.items()) == list(given.items())
    assert again.canonical_json() == job.canonical_json()
    assert FallbackOffer.model_validate(again.given()) == job
    for decide in (FALLBACK_OFFER.refuse, FALLBACK_OFFER.repeatable, FALLBACK_OFFER.entity):
        assert decide(account, again) == decide(account, job)
    assert FALLBACK_OFFER.warn(again) == FALLBACK_OFFER.warn(job)
    request = FALLBACK_OFFER.encode(account, (job,))
    assert request == FALLBACK_OFFER.encode(account, (again,))
    # each column one operation, each operation of the patch itself (xcore: no test), nothing else
    sent = json.loads(request.body)
    unknown = account is XCORE and len({"name", "description"} & set(given))
    tests = sum(each["op"] == "test" for each in given.get("patch", ()) if account is XCORE)
    assert len(sent) == len(given) - unknown + len(given.get("patch", "x")) - 1 - tests


@settings(max_examples=150, deadline=None)
@given(changes, st.sampled_from([XCORE, DPS]))
def test_what_is_accepted_is_harmless_to_repeat_or_gets_a_guard(given, account):
    job = offer(given)
    if FALLBACK_OFFER.refuse(account, job) is None:
        assert FALLBACK_OFFER.repeatable(account, job) is not GUARD.needs(account, job)


KNOWN = (
    *("error_code", "message", "type", "title", "detail", "report", "error-chain"),
    *("request-id", "repo:etag", "etag", "instanceId", "@id", "id"),
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([200, 400, 401, 403, 409, 422, 429, 500]),
    st.dictionaries(
        st.sampled_from(KNOWN),
        values | st.just([{"errorCode": 5}, None]) | st.just({"additionalContext": {"a": "b"}}),
    ),
)
def test_any_body_has_an_answer_that_can_be_shown(status, body):
    answer = answered(Reply(status, {}, json.dumps(body).encode()), offer())
    shown = (answer.code, answer.message, answer.hint, answer.request_id, answer.receipt)
    assert all(len(text) < 1_000 and (text.isprintable() or not text) for text in shown)
    assert not answer.receipt or set(json.loads(answer.receipt)) <= {"etag", "id"}
    assert (answer.verdict is OK) <= (status == 200)
