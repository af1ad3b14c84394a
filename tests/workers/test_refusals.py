from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.workers.refusals import (
    MAX_PROBES,
    SUSPECTED_AFTER,
    SUSPECTED_AT_MOST,
    AccountRefusals,
)


def after(*events: str, refused_before: int = 0) -> AccountRefusals:
    """One event a second.

    `no` is a refusal, `asked` one of a row that was asked, `yes` a success whose request had just
    left, `late` one whose request had left before everything.
    """
    refusals = AccountRefusals(refused_before)
    for at_s, event in enumerate(events, 1):
        if event in {"yes", "late"}:
            refusals.on_judged(sent_s=at_s - 0.5 if event == "yes" else 0.0)
        else:
            refusals.on_refusal(f"e{at_s}", came_s=float(at_s), is_probe=event == "asked")
    return refusals


FEW = SUSPECTED_AFTER - 1


@pytest.mark.parametrize(
    ("events", "in_question", "given_up"),
    [
        ([], False, False),
        (["no"], True, False),  # nothing was accepted yet: another entity is asked
        (["no", *["asked"] * (MAX_PROBES - 1)], True, False),
        (["no", *["asked"] * MAX_PROBES], True, True),
        (["no", "asked", "yes"], False, False),  # the second entity is accepted
        (["no", "asked", "asked", "yes"], False, False),  # the third
        (["yes", *["no"] * FEW], False, False),  # a few among successes
        (["yes", *["no"] * SUSPECTED_AFTER], True, False),  # as if revoked
        (["yes", *["no"] * SUSPECTED_AFTER, *["asked"] * MAX_PROBES], True, True),
        (["yes", *["no"] * SUSPECTED_AFTER, "late"], True, False),  # it had left before
        (["yes", *["no"] * SUSPECTED_AFTER, "yes"], False, False),
        (["yes", *["no", "yes"] * 30], False, False),  # every second row, for ever
        # eight at once were about their rows: eight more mean nothing, seventeen do
        (["yes", *["no"] * 8, "yes", *["no"] * 8], False, False),
        (["yes", *["no"] * 8, "yes", *["no"] * 17], True, False),
        (["yes", *["no"] * 300, "yes", *["no"] * SUSPECTED_AT_MOST], True, False),
        # it was in question once for nothing: twice as many are asked
        (["no", "yes", *["no"] * SUSPECTED_AFTER, *["asked"] * MAX_PROBES], True, False),
        (["no", "yes", *["no"] * SUSPECTED_AFTER, *["asked"] * 2 * MAX_PROBES], True, True),
    ],
)
def test_refusals(events, in_question, given_up):
    refusals = after(*events)
    assert (refusals.is_suspected, refusals.is_given_up) == (in_question, given_up)


def test_a_resumed_run_probes_as_many_as_were_refused_before():
    assert not after("no", *["asked"] * 7, refused_before=8).is_given_up
    assert after("no", *["asked"] * 8, refused_before=8).is_given_up


def test_a_refusal_is_about_its_row_once_a_later_request_was_judged():
    refusals = after("no", "late")
    assert not refusals.is_about_row(came_s=1.0)
    refusals.on_judged(sent_s=1.0)
    assert refusals.is_about_row(came_s=1.0)
    assert not refusals.is_about_row(came_s=1.1)


@given(st.lists(st.sampled_from(["no", "yes", "late"]), max_size=80))
def test_from_a_moment_on_refusals_put_every_account_in_question_soon(before):
    assert after(*before, *["no"] * SUSPECTED_AT_MOST).is_suspected


@given(st.lists(st.sampled_from(["no", "asked", "yes", "late"]), max_size=80))
def test_no_account_is_given_up_that_was_just_seen_to_work(before):
    refusals = after(*before, "yes")
    assert not refusals.is_suspected
    assert not refusals.is_given_up
