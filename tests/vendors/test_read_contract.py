"""Every operation that can be read back holds what a read promises; what is broken is found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from pipeline.model import Reply, Request
from pipeline.vendors import load_vendors
from pipeline.vendors.kit.classify import json_object
from pipeline.vendors.kit.contract import MISSING, Difference, EntityRead, Missing, State
from tests.acme import ACME, PRICE, Price
from tests.vendors import conformance as suite
from tests.vendors.conformance import READ_CHECKS, READ_WIRE_CHECKS, Check, is_emulated
from tests.vendors.specimens import XCORE, AnyOperation, AnyVendor
from tests.vendors.twins import raising

READ = [(v, o) for v in load_vendors().values() for o in v.operations if o.reading]
NAMES = [operation.name for _, operation in READ]
EMULATED = [(vendor, operation) for vendor, operation in READ if is_emulated(vendor)]


def test_what_has_a_documented_read_is_read():
    names = {operation.name for _, operation in EMULATED}
    assert names >= {"adobe.fallback-offer", "xsolla.bonus-promotion", "xsolla.coupon"}


@pytest.mark.parametrize(("vendor", "operation"), READ, ids=NAMES)
@pytest.mark.parametrize("check", READ_CHECKS, ids=lambda check: check.__name__[6:])
def test_every_operation_that_is_read_holds_the_contract(vendor, operation, check):
    check(vendor, operation)


@pytest.mark.parametrize(("vendor", "operation"), EMULATED, ids=[o.name for _, o in EMULATED])
@pytest.mark.parametrize("check", READ_WIRE_CHECKS, ids=lambda check: check.__name__[11:])
async def test_every_emulated_operation_is_read_over_the_wire(vendor, operation, check, tmp_path):
    await check(vendor, operation, tmp_path)


async def test_the_older_api_of_adobe_is_read_over_the_wire(tmp_path):
    for check in READ_WIRE_CHECKS:
        await check(XCORE, XCORE.operations[0], tmp_path)


@pytest.mark.parametrize(("vendor", "operation"), EMULATED, ids=[o.name for _, o in EMULATED])
async def test_a_reading_that_takes_any_entity_is_found_over_the_wire(vendor, operation, tmp_path):
    right = operation.reading.state

    def of_whoever(settings: Any, job: Any, reply: Reply) -> Any:
        nameless = {**json_object(reply.body), "id": None, "external_id": None}
        return right(settings, job, reply._replace(body=json.dumps(nameless).encode()))

    twin = dataclasses.replace(
        operation, reading=dataclasses.replace(operation.reading, state=of_whoever)
    )
    with pytest.raises(AssertionError, match="a read of"):
        await READ_WIRE_CHECKS[1](vendor, twin, tmp_path)


# ------------------------------------------------------------- the suite finds what is broken


def request(_s: Any, job: Price) -> Request:
    return Request("GET", f"/v1/prices/{quote(job.sku, safe='')}?full=1")


def state(_s: Any, _job: Price, reply: Reply) -> State | Missing | None:
    body = {} if reply.is_cut else json_object(reply.body)
    if reply.status == 404 and body.get("error") == "no such article":
        return MISSING
    return State(body) if reply.status == 200 and "cents" in body else None


def differences(_s: Any, job: Price, found: State) -> tuple[Difference, ...]:
    cents = found.fields.get("cents")
    return () if cents == job.cents else (Difference("cents", job.cents, cents),)


GOOD = EntityRead[Any, Any](
    request=request, state=state, differences=differences, settle_after_s=20.0
)
READABLE = dataclasses.replace(PRICE, reading=GOOD)


class Twin(NamedTuple):
    check: Check
    why: str
    operation: AnyOperation


def of(check: Check, why: str, **changed: Any) -> Twin:
    """A price whose reading, or whose `writes`, is broken in one place."""
    own = {name: changed.pop(name) for name in ("writes",) if name in changed}
    reading = dataclasses.replace(GOOD, **changed)
    return Twin(check, why, dataclasses.replace(READABLE, reading=reading, **own))


def asks(**changed: Any) -> dict[str, Any]:
    return {"request": lambda s, job: request(s, job)._replace(**changed)}


def at(path: Callable[[Price], str]) -> dict[str, Any]:
    return {"request": lambda s, job: request(s, job)._replace(path=path(job))}


def if_found(change: Callable[[Any], Any]) -> dict[str, Any]:
    return {"differences": lambda s, job, found: change(differences(s, job, found))}


def raising_at_numbers(s: Any, job: Price, found: State) -> Any:
    return raising() if found.fields.get("name") == 7 else differences(s, job, found)


def spoiling(s: Any, job: Price, found: State) -> Any:
    found.fields.pop("name", None)  # type: ignore[attr-defined]
    return differences(s, job, found)


A_READ = suite.check_a_read_asks_for_the_entity
A_STATE = suite.check_any_reply_tells_a_state_or_nothing
ALIKE = suite.check_differences_are_pure
WRITTEN = suite.check_what_is_written_can_be_pointed_at

TWINS = [
    of(WRITTEN, "a full replace that writes a part", writes=lambda _s, _j: frozenset({"/cents"})),
    of(WRITTEN, "no pointer", writes=lambda _s, _job: frozenset({"cents"})),
    of(WRITTEN, "a list", writes=lambda _s, _job: ["/cents"]),
    of(A_READ, "a read that updates", **asks(method="PUT")),
    of(A_READ, "a body", **asks(body=b"{}")),
    of(A_READ, "a header that frames the message", **asks(headers={"Content-Length": "0"})),
    of(A_READ, "one address for all", **at(lambda _job: "/v1/prices/anvil")),
    of(A_READ, "an id with a slash becomes two segments", **at(lambda job: f"/v1/{job.sku}")),
    of(A_READ, "encoded twice", **at(lambda job: f"/v1/{quote(quote(job.sku, safe=''), safe='')}")),
    of(A_READ, "never settled", settle_after_s=float("inf")),
    of(A_READ, "settled while it is under way", settle_after_s=5.0),
    of(A_STATE, "a page is no object", state=lambda _s, _job, reply: State({"n": reply.body[0]})),
    of(A_STATE, "an outage is no state", state=lambda _s, _job, _reply: State({})),
    of(
        A_STATE,
        "any 404 is the vendor's",
        state=lambda _s, _job, r: MISSING if r.status == 404 else None,
    ),
    of(A_STATE, "nothing that there is", state=lambda _s, _job, _reply: False),
    of(
        A_STATE,
        "an etag that is a number",
        state=lambda _s, _job, r: State({}, 3) if r.status == 200 else None,
    ),  # type: ignore[arg-type]
    of(
        A_STATE,
        "a reply cut short",
        state=lambda _s, _job, r: (
            State({}) if r.status == 200 and r.body.startswith(b"{") else None
        ),
    ),
    of(ALIKE, "it cannot read a number", differences=raising_at_numbers),
    of(ALIKE, "a state that is changed", differences=spoiling),
    of(ALIKE, "a list", **if_found(list)),
    of(ALIKE, "words", **if_found(lambda found: tuple(map(str, found)))),
    of(ALIKE, "in nothing", **if_found(lambda found: tuple(d._replace(field="") for d in found))),
    of(ALIKE, "nothing ever differs", **if_found(lambda _found: ())),
]


@pytest.mark.parametrize("check", READ_CHECKS, ids=lambda check: check.__name__[6:])
def test_the_reading_that_the_twins_are_made_of_is_good(check):
    check(ACME, READABLE)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.why)
def test_a_reading_that_is_broken_in_one_place_is_found(twin):
    with pytest.raises(AssertionError, match=r"\w+ \w+"):
        twin.check(ACME, twin.operation)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.why)
def test_and_no_other_check_finds_it(twin):
    for check in READ_CHECKS:
        if check is not twin.check:
            check(ACME, twin.operation)


def test_every_check_has_a_twin():
    assert {twin.check for twin in TWINS} == set(READ_CHECKS)


def offered(name: str) -> tuple[AnyVendor, AnyOperation]:
    return next((vendor, operation) for vendor, operation in READ if operation.name == name)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        # a read that always confirms would resolve doubts wrongly
        ({"differences": lambda _s, _job, _state: ()}, "before the update"),
        # one that never does sends rows again that have arrived
        ({"differences": lambda _s, _job, _state: (Difference("name", 1, 2),)}, "what was sent"),
        ({"state": lambda _s, _job, _reply: None}, "the first read"),
    ],
)
async def test_a_reading_that_does_not_tell_is_found_over_the_wire(changed, told, tmp_path):
    vendor, operation = offered("xsolla.coupon")
    broken = dataclasses.replace(operation.reading, **changed)
    twin = dataclasses.replace(operation, reading=broken)
    with pytest.raises(AssertionError, match=told):
        await READ_WIRE_CHECKS[0](vendor, twin, tmp_path)
