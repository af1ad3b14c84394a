"""Every operation that reads guards holds what a guard promises; what is broken is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from pipeline.model import Answer, Request
from pipeline.vendors import EntityRead, Guard, State, load_vendors
from tests.acme import ACME, STOCK, Settings, Stock
from tests.vendors import conformance as suite
from tests.vendors.conformance import GUARD_CHECKS, Check
from tests.vendors.specimens import XCORE, AnyOperation
from tests.vendors.twins import raising

GUARDED = [(v, o) for v in load_vendors().values() for o in v.operations if o.guard]
NAMES = [operation.name for _, operation in GUARDED]


def test_what_may_do_harm_twice_and_can_be_read_has_a_guard():
    assert NAMES == ["adobe.fallback-offer"]


@pytest.mark.parametrize(("vendor", "operation"), GUARDED, ids=NAMES)
@pytest.mark.parametrize("check", GUARD_CHECKS, ids=lambda check: check.__name__[6:])
def test_every_operation_with_a_guard_holds_the_contract(vendor, operation, check):
    check(vendor, operation)


@pytest.mark.parametrize(("vendor", "operation"), GUARDED, ids=NAMES)
async def test_every_emulated_guard_holds_over_the_wire(vendor, operation):
    await suite.wire_check_what_is_guarded_happens_once(vendor, operation)


async def test_the_guard_of_the_older_api_of_adobe_holds_the_contract_and_over_the_wire():
    (operation,) = XCORE.operations
    for check in GUARD_CHECKS:
        check(XCORE, operation)
    await suite.wire_check_what_is_guarded_happens_once(XCORE, operation)


async def test_the_guard_of_adobe_holds_for_what_only_a_test_can_guard():
    (vendor, operation), *_ = GUARDED
    changes = [
        {"add:/labels/-": "x"},
        {"remove:/representations/0/placement": True},
        {"remove:/description": True},
        {"name": "y", "add:/labels/0": "x", "remove:/description": True},
    ]
    jobs = [
        operation.job_type.model_validate({"instance_id": f"o{n}", "changes": each})
        for n, each in enumerate(changes)
    ]
    await suite.wire_check_what_is_guarded_happens_once(vendor, operation, jobs)


# ------------------------------------------------------------- the suite finds what is broken

TAG = "tag:guard"


def is_repeatable(_s: Settings, job: Stock) -> bool:
    return "memo" not in job.changes or TAG in job.changes


def guarded(_s: Settings, job: Stock, state: State) -> Stock | None:
    if state.etag is None:
        return None
    return job.model_copy(update={"changes": {**job.changes, TAG: state.etag}})


GOOD = Guard[Any, Any](
    needs=lambda s, job: not is_repeatable(s, job),
    guarded=guarded,
    refusal=lambda _s, answer: answer.http_status == 409,
    expected=lambda _s, job: f"etag {job.changes[TAG]}",
)
READING = EntityRead[Any, Any](
    request=lambda _s, job: Request("GET", f"/v1/{job.warehouse}"),
    state=lambda _s, _job, _reply: None,
    differences=lambda _s, _job, _state: (),
    settle_after_s=20.0,
)
GUARDABLE = dataclasses.replace(STOCK, repeatable=is_repeatable, reading=READING, guard=GOOD)


class Twin(NamedTuple):
    check: Check
    why: str
    operation: AnyOperation


def of(check: Check, why: str, *, operation: AnyOperation = GUARDABLE, **changed: Any) -> Twin:
    guard = dataclasses.replace(operation.guard, **changed)
    return Twin(check, why, dataclasses.replace(operation, guard=guard))


def laid(change: Callable[[Stock], Any]) -> dict[str, Any]:
    """A guard that changes more than it should."""

    def wrong(s: Settings, job: Stock, state: State) -> Any:
        found = guarded(s, job, state)
        return None if found is None else change(found)

    return {"guarded": wrong}


def spoiling(s: Settings, job: Stock, state: State) -> Any:
    found = guarded(s, job, state)
    job.changes["memo"] = "spoiled"
    return found


def refusing(*statuses: int | None) -> dict[str, Any]:
    def refusal(_s: Settings, answer: Answer) -> bool:
        return answer.http_status in statuses

    return {"refusal": refusal}


NEEDS = suite.check_who_needs_a_guard_is_decided
MADE = suite.check_a_guard_is_made_of_what_was_read
SENT = suite.check_a_guarded_job_can_be_sent
REFUSED = suite.check_no_other_answer_is_taken_for_its_refusal

TWINS = [
    of(NEEDS, "a word", needs=lambda s, job: "" if is_repeatable(s, job) else "yes"),
    of(
        NEEDS,
        "by a secret",
        needs=lambda s, job: not is_repeatable(s, job) and "hid" in s.client_id.get_secret_value(),
    ),
    of(NEEDS, "nobody", needs=lambda _s, _job: False),
    of(MADE, "it cannot read that", guarded=raising),
    of(MADE, "never one", guarded=lambda _s, _job, _state: None),
    of(MADE, "words", guarded=lambda _s, _job, _state: "etag"),
    of(MADE, "a job that is changed", guarded=spoiling),
    of(SENT, "another entity", **laid(lambda job: job.model_copy(update={"sku": "other"}))),
    of(SENT, "no guard at all", guarded=lambda _s, job, _state: job),
    of(SENT, "no words", expected=lambda _s, _job: ""),
    of(SENT, "two lines", expected=lambda _s, _job: "etag\n3"),
    of(REFUSED, "never refused", **refusing()),
    of(REFUSED, "a limit", **refusing(409, 429)),
    of(REFUSED, "an outage", **refusing(409, 503)),
    of(REFUSED, "silence", **refusing(409, None)),
]


@pytest.mark.parametrize("check", GUARD_CHECKS, ids=lambda check: check.__name__[6:])
def test_the_guard_that_the_twins_are_made_of_is_good(check):
    check(ACME, GUARDABLE)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.why)
def test_a_guard_that_is_broken_in_one_place_is_found(twin):
    with pytest.raises(AssertionError, match=r"\w+ \w+"):
        twin.check(ACME, twin.operation)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.why)
def test_and_no_other_check_finds_it(twin):
    for check in GUARD_CHECKS:
        if check is not twin.check:
            check(ACME, twin.operation)


def test_every_check_has_a_twin():
    assert {twin.check for twin in TWINS} == set(GUARD_CHECKS)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        # a guard that holds afterwards, too, lets the update happen twice
        ({"guarded": lambda _s, job, _state: job}, "not taken for its refusal"),
        ({"refusal": lambda _s, _answer: False}, "not taken for its refusal"),
        ({"guarded": lambda _s, _job, _state: None}, "nothing that needs a guard"),
    ],
)
async def test_a_guard_that_does_not_hold_is_found_over_the_wire(changed, told):
    vendor, (operation,) = XCORE, XCORE.operations
    broken = dataclasses.replace(operation.guard, **changed)
    twin = dataclasses.replace(operation, guard=broken)
    with pytest.raises(AssertionError, match=told):
        await suite.wire_check_what_is_guarded_happens_once(vendor, twin)
