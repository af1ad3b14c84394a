"""A precheck decides from the state of an entity what happens to its row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.model import JobRow, UpdateJob
from pipeline.vendors import load_vendors
from pipeline.vendors.kit.contract import MISSING, Difference, State
from pipeline.workers.own_answers import conflict
from pipeline.workers.precheck import PrecheckAction, PrecheckOutcome, PrecheckPolicy, decide
from tests.vendors.specimens import settings_of

XSOLLA, ADOBE = load_vendors()["xsolla"], load_vendors()["adobe"]
(_, COUPON), (OFFER,) = XSOLLA.operations, ADOBE.operations
LIMITS = {"redeem_total_limit": 10, "redeem_user_limit": 10, "redeem_code_limit": None}
HELD = {"name": {"en-US": "A", "de-DE": "B"}, "bonus": [{"sku": "s", "quantity": 1}], **LIMITS}

NO_PRECHECKS = {"skips": False, "keeps": False}
KEEPS = {"skips": False, "keeps": True}
SKIPS = {"skips": True, "keeps": False}
REMEMBERS = NO_PRECHECKS


def coupon(**given: Any) -> UpdateJob:
    return COUPON.job_type.trusted(json.dumps({"external_id": "c1", **given}))


WHOLE = coupon(**{**HELD, "redeem_user_limit": 5})
PART = coupon(redeem_user_limit=5)
SAME = coupon(**HELD)


def held(**changed: Any) -> State:
    return State({**HELD, **changed})


def decision(job: UpdateJob, state: Any, policy: dict[str, bool], **more: Any) -> PrecheckOutcome:
    given = {"expected": None, "in_doubt": False, **policy, **more}
    return decide(COUPON, settings_of(XSOLLA), job, state, **given)


@pytest.mark.parametrize(
    "case",
    [
        (WHOLE, held(), REMEMBERS, {}, PrecheckAction.SEND, "a precheck alone stops nothing"),
        (SAME, held(), REMEMBERS, {}, PrecheckAction.SEND, "nor does what changes nothing"),
        (SAME, held(), SKIPS, {}, PrecheckAction.UNCHANGED, "unless that is asked for"),
        (WHOLE, held(), SKIPS, {}, PrecheckAction.SEND, "a change goes"),
        (PART, held(), KEEPS, {}, PrecheckAction.SEND, "a part that changes something"),
        (
            PART,
            held(redeem_user_limit=5),
            KEEPS,
            {},
            PrecheckAction.UNCHANGED,
            "a part that changes nothing",
        ),
        (WHOLE, held(), NO_PRECHECKS, {"expected": held()}, PrecheckAction.SEND, "as expected"),
        (
            WHOLE,
            held(bonus=None),
            NO_PRECHECKS,
            {"expected": held()},
            PrecheckAction.CONFLICT,
            "not as expected",
        ),
        (
            SAME,
            held(bonus=None),
            SKIPS,
            {"expected": held()},
            PrecheckAction.CONFLICT,
            "that comes first",
        ),
        (
            SAME,
            held(),
            NO_PRECHECKS,
            {"expected": held()},
            PrecheckAction.UNCHANGED,
            "a plan sends no such row",
        ),
        (WHOLE, MISSING, KEEPS, {}, PrecheckAction.MISSING, "there is none"),
        # in doubt: `expected` is what was there before the first attempt
        (
            WHOLE,
            held(redeem_user_limit=5),
            NO_PRECHECKS,
            {"expected": held(), "in_doubt": True},
            PrecheckAction.APPLIED,
            "its own update is no conflict",
        ),
        (
            PART,
            held(redeem_user_limit=5),
            KEEPS,
            {"expected": held(), "in_doubt": True},
            PrecheckAction.APPLIED,
            "nor is that of a part",
        ),
        (
            WHOLE,
            held(),
            NO_PRECHECKS,
            {"expected": held(), "in_doubt": True},
            PrecheckAction.SEND,
            "it was not applied: once more",
        ),
        (
            WHOLE,
            held(redeem_user_limit=77),
            NO_PRECHECKS,
            {"expected": held(), "in_doubt": True},
            PrecheckAction.MIXED,
            "neither before nor after: nobody can tell",
        ),
        (
            WHOLE,
            MISSING,
            KEEPS,
            {"in_doubt": True},
            PrecheckAction.MIXED,
            "gone, and perhaps changed before",
        ),
    ],
)
def test_what_a_row_should_do(case):
    job, state, policy, more, expected, why = case
    assert decision(job, state, policy, **more).action is expected, why


def test_what_a_row_leaves_out_is_sent_as_it_is_there():
    found = decision(coupon(name={"en-US": "New"}, bonus=[]), held(), KEEPS)
    assert found.job is not None
    given = found.job.given()
    assert given["name"] == {"en-US": "New", "de-DE": "B"}, "maps are merged_text over key by key"
    assert given["bonus"] == [], "an empty list is a value"
    assert given["redeem_total_limit"] == 10
    assert given["redeem_code_limit"] is None
    assert "attribute_conditions" not in given, "what is not there cannot be sent as null"


def test_a_conflict_tells_both_values():
    found = decision(WHOLE, held(redeem_total_limit=3), NO_PRECHECKS, expected=held())
    assert found.differences == (Difference("redeem_total_limit", 10, 3),)
    answer = conflict(found.differences)
    assert "redeem_total_limit: expected 10, found 3" in answer.message
    assert json.loads(answer.receipt) == {
        "conflict": [{"field": "redeem_total_limit", "expected": 10, "found": 3}]
    }


ROW = JobRow(1, "", "", is_repeatable=True, text="{}")


@pytest.mark.parametrize(
    ("operation", "policy", "row", "expected"),
    [
        (COUPON, PrecheckPolicy(), ROW, False),
        (COUPON, PrecheckPolicy(), ROW._replace(expects="{}"), True),
        (COUPON, PrecheckPolicy(), ROW._replace(keeps=True), True),
        (COUPON, PrecheckPolicy(remembers=True), ROW, True),
        (OFFER, PrecheckPolicy(skips=True), ROW, True),
        (load_vendors()["oracle"].operations[0], PrecheckPolicy(skips=True), ROW, False),
    ],
)
def test_which_rows_are_prechecked(operation, policy, row, expected):
    assert policy.is_due(operation, row) is expected
