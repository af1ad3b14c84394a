"""Every operation that can be planned holds what a plan promises; what is broken is found."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.vendors import load_vendors
from pipeline.vendors.kit.contract import Change, Difference, State
from tests.acme import ACME, PRICE, Price
from tests.vendors import conformance as suite
from tests.vendors.conformance import CHANGE_CHECKS, is_emulated

PLANNED = [(v, o) for v in load_vendors().values() for o in v.operations if o.change]
NAMES = [operation.name for _, operation in PLANNED]


def test_every_operation_can_be_planned():
    assert {
        *("adobe.fallback-offer", "oracle.offer-status"),
        *("xsolla.bonus-promotion", "xsolla.coupon"),
    } <= {*NAMES}


@pytest.mark.parametrize(("vendor", "operation"), PLANNED, ids=NAMES)
@pytest.mark.parametrize("check", CHANGE_CHECKS, ids=lambda check: check.__name__[6:])
def test_every_operation_that_is_planned_holds_the_contract(vendor, operation, check):
    if vendor.name == "adobe" and check is suite.check_an_inverse_takes_back:
        pytest.skip("its patches fit no empty offer: the wire check and test_patch have real ones")
    check(vendor, operation)


@pytest.mark.parametrize(
    ("vendor", "operation"),
    [(v, o) for v, o in PLANNED if o.reading and is_emulated(v)],
    ids=lambda v: v.name,
)
async def test_an_update_is_predicted_and_undone_over_the_wire(vendor, operation, tmp_path):
    await suite.wire_check_an_update_is_predicted_and_undone(vendor, operation, tmp_path)


# ------------------------------------------------------------- the suite finds what is broken


def state_differences(_s: Any, wanted: State, found: State) -> tuple[Difference, ...]:
    pair = wanted.fields.get("cents"), found.fields.get("cents")
    return () if pair[0] == pair[1] else (Difference("cents", *pair),)


def priced(job: Price, cents: Any) -> Price:
    return Price.trusted(Price(**{**job.given(), "cents": cents}).canonical_json())


GOOD = Change[Any, Any](
    after=lambda _s, job, _state: State({"cents": job.cents}),
    differences=state_differences,
    merge=(lambda _s, job, _state: job) if PRICE.replaces else None,
    inverse=lambda _s, job, state: priced(job, state.fields["cents"]),
)

BROKEN = [
    (
        suite.check_an_update_leaves_what_it_says,
        "a state that is not like itself",
        {"differences": lambda _s, _one, _other: (Difference("cents", 1, 1),)},
    ),
    (
        suite.check_a_difference_is_found,
        "differences that nobody sees",
        {"differences": lambda _s, _one, _other: ()},
    ),
    (
        suite.check_an_inverse_takes_back,
        "an inverse that does the same again",
        {"inverse": lambda _s, job, _state: priced(job, 12_345)},
    ),
    (
        suite.check_an_inverse_takes_back,
        "no inverse at all",
        {"inverse": lambda _s, _job, _state: None},
    ),
    (
        suite.check_a_merge_keeps_what_the_row_leaves_out,
        "a merge where there is none, or none where there should be",
        {"merge": None if PRICE.replaces else lambda _s, job, _state: job},
    ),
]


@pytest.mark.parametrize("check", CHANGE_CHECKS, ids=lambda check: check.__name__[6:])
def test_a_good_one_passes(check):
    check(ACME, dataclasses.replace(PRICE, change=GOOD))


@pytest.mark.parametrize(("check", "why", "broken"), BROKEN, ids=[each[1] for each in BROKEN])
def test_what_is_broken_is_found(check, why, broken):
    operation = dataclasses.replace(PRICE, change=dataclasses.replace(GOOD, **broken))
    with pytest.raises(AssertionError):
        check(ACME, operation)
