"""Reading offers back, fact by fact. The sources are named as in `pipeline/vendors/adobe/`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipeline.model import Reply, Request
from pipeline.simulator.core import path_segments
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.vendor import Call
from pipeline.simulator.vendors.adobe import VENDOR as EMULATED
from pipeline.vendors.adobe import FALLBACK_OFFER, AdobeSettings, FallbackOffer
from pipeline.vendors.kit.contract import MISSING, State

SHARED: dict[str, Any] = {
    "ims_org": "ACME@AdobeOrg",
    "sandbox_name": "prod",
    "client_id": SecretStr("simulator-client"),
    "access_token": SecretStr("a-token"),
    "preconditions": False,
}
XCORE = AdobeSettings(api="xcore", container_id="c1", **SHARED)
DPS = AdobeSettings(api="dps", **SHARED)
READING: Any = FALLBACK_OFFER.reading
NOWHERE = "https://ns.adobe.com/aep/errors/XCORE-1-404"


def offer(changes: dict[str, Any], **more: Any) -> FallbackOffer:
    return FallbackOffer.model_validate({"instance_id": "o1", "changes": changes, **more})


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"patch": list(operations)}


def op(name: str, path: str, value: Any = None, **more: str) -> dict[str, Any]:
    has_value = name in {"add", "replace", "test"}
    return {"op": name, "path": path, **({"value": value} if has_value else {}), **more}


# ------------------------------------------------------------------------ request and reply


@pytest.mark.parametrize("settings", [XCORE, DPS], ids=["xcore", "dps"])
def test_a_read_goes_where_the_update_went(settings):
    job = offer({"status": "draft"}, instance_id="a/b:c")
    request = READING.request(settings, job)
    update = FALLBACK_OFFER.encode(settings, (job,))
    assert (request.method, request.path, request.body) == ("GET", update.path, b"")
    ours = {"x-api-key", "x-gw-ims-org-id", "x-sandbox-name"}
    assert {name: request.headers[name] for name in ours} == {n: update.headers[n] for n in ours}
    assert set(request.headers) == {*ours, "Accept"}


def test_a_read_takes_no_etag_along():
    request = READING.request(XCORE, offer({"status": "draft"}, etag="3"))
    assert {"If-Match", "If-None-Match", "Content-Type"}.isdisjoint(request.headers)
    assert request.headers["Accept"] == (
        "*, application/vnd.adobe.platform.xcore.hal+json; "
        'schema="https://ns.adobe.com/experience/offer-management/fallback-offer;version=0.1"'
    )


NAMED = {"xdm:name": "x"}
REPLIES = [
    # the platform's own words: there is no such offer
    (XCORE, 404, {"type": NOWHERE, "title": "Not Found", "status": 404}, MISSING),
    (DPS, 404, {"type": NOWHERE}, MISSING),
    # the gateway knows addresses, not offers
    (DPS, 404, {"error_code": "404000", "message": "no such resource"}, None),
    # so do the frameworks behind it
    (DPS, 404, {"type": "about:blank", "title": "Not Found", "status": 404}, None),
    (DPS, 404, b"<html>", None),
    (DPS, 404, b"", None),
    (DPS, 500, {"type": NOWHERE}, None),
    (DPS, 403, {"error_code": "403025"}, None),
    (DPS, 429, {"error_code": "429050"}, None),
    (DPS, 304, b"", None),
    (DPS, 302, {"name": "x", "etag": 1}, None),
    # an offer
    (XCORE, 200, {"_instance": NAMED, "repo:etag": 2}, State({"_instance": NAMED}, "2")),
    (XCORE, 200, {"_instance": NAMED, "etag": 2}, State({"_instance": NAMED}, None)),
    (XCORE, 200, {"_instance": NAMED, "repo:etag": '"2"'}, State({"_instance": NAMED}, "2")),
    (XCORE, 200, {"_instance": NAMED, "repo:etag": True}, State({"_instance": NAMED}, None)),
    (XCORE, 200, {"_instance": NAMED, "repo:etag": -1}, State({"_instance": NAMED}, "-1")),
    (XCORE, 200, {"_instance": NAMED, "repo:etag": "a-f"}, State({"_instance": NAMED}, "a-f")),
    (XCORE, 200, {"_instance": NAMED, "repo:etag": "a f"}, State({"_instance": NAMED}, None)),
    (DPS, 200, {"name": "x", "etag": 2}, State({"name": "x", "etag": 2}, "2")),
    # no offer
    (XCORE, 200, {"_instance": {}}, None),
    (XCORE, 200, {"_instance": ["xdm:name"]}, None),
    (XCORE, 200, {"name": "x", "etag": 2}, None),
    (DPS, 200, {}, None),
    (DPS, 200, ["name"], None),
    (DPS, 200, b"<html>log in</html>", None),
    (DPS, 204, b"", None),
]


PLAIN = offer({"status": "draft"})
OURS, THEIRS = PLAIN.instance_id, "7c1e2a40-13ec-11eb-9c20-0242ac130002"
NAMING = [
    # the offer that the reply names; whether that is a state of ours
    (DPS, {"name": "x", "id": OURS}, True),
    (DPS, {"name": "x", "id": THEIRS}, False),
    (DPS, {"name": "x", "id": ""}, False),
    (DPS, {"name": "x"}, True),  # none: the address alone says whose it is
    (DPS, {"name": "x", "id": 7}, True),
    (XCORE, {"_instance": NAMED, "instanceId": OURS}, True),
    (XCORE, {"_instance": NAMED, "instanceId": THEIRS}, False),
    # UPDATE: ids of xcore have two forms, and a row may give either
    (XCORE, {"_instance": {**NAMED, "@id": "xcore:fallback-offer:1"}, "instanceId": OURS}, True),
    (XCORE, {"_instance": {**NAMED, "@id": OURS}, "instanceId": THEIRS}, True),
    (XCORE, {"_instance": {**NAMED, "@id": THEIRS}}, False),
]


@pytest.mark.parametrize(("settings", "body", "is_ours"), NAMING)
def test_a_reply_about_another_offer_tells_nothing(settings, body, is_ours):
    state = READING.state(settings, PLAIN, Reply(200, {}, json.dumps(body).encode()))
    assert isinstance(state, State) is is_ours
    assert state is None or is_ours


@pytest.mark.parametrize(("settings", "status", "body", "found"), REPLIES)
def test_only_what_adobe_itself_says_counts(settings, status, body, found):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert READING.state(settings, PLAIN, Reply(status, {}, raw)) == found


def test_a_reply_cut_short_tells_nothing():
    assert READING.state(DPS, PLAIN, Reply(200, {}, b'{"name": "x"}', is_cut=True)) is None
    assert (
        READING.state(DPS, PLAIN, Reply(404, {}, b'{"type": "%b"}' % NOWHERE.encode(), is_cut=True))
        is None
    )


# ------------------------------------------------------------------------------- differences

NAME = "/_instance/xdm:name"
TAGS = "/_instance/xdm:tags"
DIFFERENCES = [
    # changes, the row's etag, the state found, its etag; differences, and if they are decided
    ({"status": "approved"}, None, {"xdm:status": "approved"}, None, {}),
    ({"status": "approved"}, None, {"xdm:status": "draft"}, None, {"status": True}),
    ({"status": "approved"}, None, {}, None, {"status": True}),
    ({NAME: "x"}, None, {"xdm:name": "x"}, None, {}),
    ({NAME: "x"}, None, {"xdm:name": "y"}, None, {NAME: True}),
    ({f"remove:{NAME}": True}, None, {"xdm:name": "y"}, None, {NAME: True}),
    ({f"remove:{NAME}": True}, None, {}, None, {}),
    (
        patch(op("replace", NAME, 10), op("add", f"{NAME}~1a", None)),
        *(None, {"xdm:name": 10.0}, None, {}),
    ),
    (
        patch(op("replace", f"{NAME}~1~0", 10)),
        *(None, {}, None, {f"{NAME}~1~0": True}),
    ),
    # what is added to a list may have been in it before
    ({f"add:{TAGS}/-": "t"}, None, {"xdm:tags": ["t"]}, None, {f"{TAGS}/-": False}),
    (
        {f"add:{TAGS}/-": "t", "status": "draft"},
        *(None, {"xdm:tags": ["t"], "xdm:status": "approved"}, None),
        {f"{TAGS}/-": False, "status": True},
    ),
    # every update gives a new etag: with the row's own, nothing was updated
    ({"status": "draft"}, "2", {"xdm:status": "draft"}, "3", {}),
    ({"status": "draft"}, "2", {"xdm:status": "draft"}, "2", {"etag": True}),
    # opaque: which of two came first, they do not tell
    ({"status": "draft"}, "2", {"xdm:status": "draft"}, "1", {}),
    ({"status": "draft"}, "9", {"xdm:status": "draft"}, "10", {}),
    ({"status": "draft"}, "b", {"xdm:status": "draft"}, "a", {}),
    ({"status": "draft"}, "a", {"xdm:status": "draft"}, "A", {}),
    ({"status": "draft"}, "1", {"xdm:status": "draft"}, "01", {}),
    ({"status": "draft"}, "a-f", {"xdm:status": "draft"}, "a-f", {"etag": True}),
    ({"status": "draft"}, "2", {"xdm:status": "draft"}, None, {}),
    ({"status": "draft"}, "2", {"xdm:status": "live"}, "3", {"status": True}),
    ({f"add:{TAGS}/-": "t"}, "2", {"xdm:tags": ["t"]}, "2", {f"{TAGS}/-": False, "etag": True}),
    ({f"add:{TAGS}/-": "t"}, "2", {"xdm:tags": ["t"]}, "3", {f"{TAGS}/-": False}),
]


@pytest.mark.parametrize(("changes", "etag", "found", "its_etag", "fields"), DIFFERENCES)
def test_what_differs_is_named_as_people_write_it(changes, etag, found, its_etag, fields):
    job = offer(changes, **({} if etag is None else {"etag": etag}))
    told = READING.differences(XCORE, job, State({"_instance": found}, its_etag))
    assert {each.field: each.is_decided for each in told} == fields


def test_a_difference_gives_both_values():
    job = offer({"status": "draft"}, etag="2")
    found = READING.differences(XCORE, job, State({"_instance": {"xdm:status": "live"}}, "2"))
    assert found == (("status", "draft", "live", True), ("etag", "another than 2", "2", True))


def test_dps_has_its_own_pointers():
    job = offer({"name": "x", "description": "y", "/status": "draft"})
    found = READING.differences(DPS, job, State({"name": "x", "description": "z"}))
    assert [each.field for each in found] == ["description", "status"]


def test_a_test_before_it_says_what_was_in_a_list():
    job = offer(patch(op("test", "/labels", ["a"]), op("add", "/labels/-", "b")))
    for labels, fields in ((["a", "b"], []), (["a"], ["/labels"])):
        found = READING.differences(DPS, job, State({"labels": labels}))
        assert [each.field for each in found if each.is_decided] == fields
        assert all(each.is_decided for each in found)


# ------------------------------------------------------------------------------------- writes


@pytest.mark.parametrize(
    ("settings", "changes", "pointers"),
    [
        (XCORE, {"status": "draft"}, {"/_instance/xdm:status"}),
        (DPS, {"status": "draft", "name": "x"}, {"/status", "/name"}),
        (DPS, {"/status": "draft"}, {"/status"}),
        (XCORE, {f"add:{TAGS}/-": "t", f"remove:{NAME}": True}, {f"{TAGS}/-", NAME}),
        # the source of a copy stays; a test writes nothing
        (DPS, patch(op("test", "/a", 1), {"op": "copy", "from": "/a", "path": "/b"}), {"/b"}),
        (DPS, patch(op("test", "/a", 1)), set()),
        # the document itself
        (DPS, patch(op("replace", "", {"name": "x"})), None),
    ],
)
def test_an_update_writes_what_its_pointers_name(settings, changes, pointers):
    found = FALLBACK_OFFER.writes(settings, offer(changes))
    assert found == (None if pointers is None else frozenset(pointers))


# --------------------------------------------------------------- what the simulator gives back


class Memory:
    """What the emulated vendor remembers; it takes every token."""

    def __init__(self) -> None:
        self.entities: dict[tuple[str, str, str], dict[str, Any]] = {}

    def get(self, *key: str) -> dict[str, Any] | None:
        return self.entities.get(key)

    def put(self, kind: str, scope: str, entity_id: str, body: dict[str, Any]) -> None:
        self.entities[kind, scope, entity_id] = body

    def issue(self, *_: Any) -> str:
        return "a-token"

    def is_good(self, *_: Any) -> bool:
        return True


def answered(memory: Any, request: Request) -> Reply:
    path, _, query = request.path.partition("?")
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers["authorization"] = "Bearer a-token"
    call = Call(request.method, headers, request.body, "t", 1_800_000_000.0, unquote(query))
    target = EMULATED.locate(path_segments(path, ""), call)
    answer = EMULATED.answer(SimulatorOptions(), memory, call, target)
    return Reply(answer.status, answer.headers, answer.body)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.sampled_from(["x", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["p", "q"]), inner, max_size=2)
    ),
    max_leaves=5,
)
WHERE = st.sampled_from(["new", "new/p", "new/p/q", "other", "~0~1"])
CHANGES = st.lists(
    st.builds(op, st.sampled_from(["add", "replace", "remove"]), WHERE, VALUES),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("settings", [XCORE, DPS], ids=["xcore", "dps"])
@given(operations=CHANGES, status=st.sampled_from(["draft", "approved", "archived"]))
def test_what_was_sent_is_what_is_read(settings, operations, status):
    root = "/_instance/" if settings is XCORE else "/"
    rooted = [{**each, "path": root + each["path"]} for each in operations]
    job, memory = offer({"patch": rooted, "status": status}), Memory()
    before, reply, after = (
        answered(memory, request)
        for request in (
            READING.request(settings, job),
            FALLBACK_OFFER.encode(settings, (job,)),
            READING.request(settings, job),
        )
    )
    states = [READING.state(settings, job, each) for each in (before, after)]
    first, last = (READING.differences(settings, job, state) for state in states)
    if reply.status == 200:
        assert last == ()
        assert int(states[1].etag) == int(states[0].etag) + 1
        is_changed = states[0].fields != states[1].fields and status != "draft"
        assert first or not is_changed
    else:
        assert last == first
