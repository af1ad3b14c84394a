"""The conformance suite runs on every vendor of the folder unasked, and finds what is broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.model import InputError, Request
from pipeline.vendors import Basic, load_vendors
from tests.acme import ACME
from tests.vendors.conformance import (
    CHECKS,
    WIRE_CHECKS,
    is_emulated,
    wire_check_rows_that_share_requests_are_updated,
    wire_check_the_sample_is_updated,
    wire_check_wrong_credentials_stop_the_account,
)
from tests.vendors.specimens import XCORE, AnyOperation, AnyVendor
from tests.vendors.twins import OTHERS, TWINS
from tests.workers.drive import ACCOUNT

OFFERED = [(vendor, o) for vendor in load_vendors().values() for o in vendor.operations]
EVERY_WAY = [*OFFERED, (XCORE, *XCORE.operations)]


def named(part: Any) -> str | None:
    name = getattr(part, "__name__", "")
    return name.removeprefix("wire_").removeprefix("check_") or getattr(part, "name", None)


def for_each(offered: Sequence[tuple[AnyVendor, AnyOperation]]) -> pytest.MarkDecorator:
    names = [f"{operation.name}{'-xcore' * (vendor is XCORE)}" for vendor, operation in offered]
    return pytest.mark.parametrize(("vendor", "operation"), offered, ids=names)


@for_each(EVERY_WAY)
@pytest.mark.parametrize("check", CHECKS, ids=named)
def test_every_operation_holds_the_contract(vendor, operation, check):
    check(vendor, operation)


@for_each([(vendor, operation) for vendor, operation in EVERY_WAY if is_emulated(vendor)])
@pytest.mark.parametrize("check", WIRE_CHECKS, ids=named)
async def test_every_emulated_operation_holds_it_over_the_wire(vendor, operation, check, tmp_path):
    await check(vendor, operation, tmp_path)


def test_names_are_not_given_twice():
    names = [operation.name for _, operation in OFFERED]
    assert names
    assert len(set(names)) == len(names)
    assert all(operation.name.partition(".")[0] == vendor.name for vendor, operation in OFFERED)


# ------------------------------------------------------------- the suite finds what is broken


def found_wrong(vendor: AnyVendor, operation: AnyOperation) -> dict[str, str]:
    """The checks that fail, and what they say."""
    told = {}
    for check in CHECKS:
        try:
            check(vendor, operation)
        except AssertionError as error:
            told[check.__name__] = str(error)
    return told


@pytest.mark.parametrize("vendor", [ACME, *OTHERS])
@pytest.mark.parametrize("operation", ACME.operations, ids=named)
def test_the_vendor_that_the_twins_are_made_of_is_good(vendor, operation):
    assert found_wrong(vendor, operation) == {}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: f"{named(twin.check)}: {twin.why}")
def test_a_twin_that_is_broken_in_one_place_is_found(twin):
    with pytest.raises(AssertionError, match=r"\w+ \w+"):  # it says in words what is wrong
        twin.check(twin.vendor, twin.operation)


@pytest.mark.parametrize("check", CHECKS, ids=named)
def test_a_check_finds_what_no_other_finds(check):
    twin = next(twin for twin in TWINS if twin.check is check)
    assert list(found_wrong(twin.vendor, twin.operation)) == [check.__name__]


def test_every_check_has_a_twin():
    assert {twin.check for twin in TWINS} == set(CHECKS)


def offered(name: str) -> tuple[AnyVendor, AnyOperation]:
    return next((vendor, operation) for vendor, operation in OFFERED if operation.name == name)


def sending(
    offer: tuple[AnyVendor, AnyOperation], encode: Callable[[Any, Any, Any], Request]
) -> tuple[AnyVendor, AnyOperation]:
    """The same with another `encode`, which is given the right one."""
    vendor, operation = offer
    broken = dataclasses.replace(operation, encode=partial(encode, operation.encode))
    return dataclasses.replace(vendor, operations=(broken,)), broken


async def test_a_request_that_the_vendor_does_not_take_is_found(tmp_path):
    offer = offered("xsolla.coupon")
    twin = sending(offer, lambda good, settings, jobs: good(settings, jobs)._replace(method="POST"))
    with pytest.raises(AssertionError, match="of 1 rows"):
        await wire_check_the_sample_is_updated(*twin, tmp_path)


async def test_rows_that_are_left_out_of_a_group_are_found(tmp_path):
    offer = offered("oracle.offer-status")
    twin = sending(offer, lambda good, settings, jobs: good(settings, jobs[:1]))
    with pytest.raises(AssertionError, match="these were applied"):
        await wire_check_rows_that_share_requests_are_updated(*twin, tmp_path)


async def test_credentials_that_are_not_the_account_s_are_found(tmp_path):
    vendor, operation = offered("xsolla.coupon")
    right = Basic("44056", SecretStr("simulator-key"))
    twin = dataclasses.replace(vendor, authenticate=lambda _settings: right)
    with pytest.raises(AssertionError, match="wrong credentials"):
        await wire_check_wrong_credentials_stop_the_account(twin, operation, tmp_path)


def test_an_account_finds_its_operations_by_name() -> None:
    for operation in ACCOUNT.vendor.operations:
        assert ACCOUNT.operation(operation.name) is operation
    with pytest.raises(InputError, match=r"vendor acme has no operation 'acme\.x'; expected acme"):
        ACCOUNT.operation("acme.x")
