"""The life of a row, case by case: the tables of `row_table.md`, complete."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import pipeline.workers
from pipeline.model import Answer, Effect, JobRow, Status, Verdict
from pipeline.model.retry import RetryPolicy
from pipeline.vendors.kit.classify import NOT_CONFIRMED
from pipeline.vendors.kit.contract import Difference
from pipeline.workers.batches import Row
from pipeline.workers.precheck import PrecheckAction, PrecheckOutcome
from pipeline.workers.row import (
    Action,
    Facts,
    Finish,
    FoundState,
    GuardOutcome,
    Hold,
    Readied,
    Step,
    Then,
    Wait,
    after_bug,
    after_failed_precheck,
    after_guard_read,
    after_precheck,
    after_refusal,
    after_stop,
    after_unread_guard,
    after_update,
    after_verification,
    end_of_covered,
    is_in_doubt,
    next_step,
    on_cut_off,
    on_lost_turn,
    on_sent,
)

WORKERS = Path(pipeline.workers.__file__).parent
MOST = 3
RETRY = RetryPolicy(max_attempts=MOST, base_s=1.0, cap_s=30.0)
V, E = Verdict, Effect

# The cases: every name that a cell of the tables may have

ANSWERS = {
    "ok": Answer(V.OK, E.APPLIED, 204),
    "rejected": Answer(V.REJECTED, E.NONE, 422, "422"),
    "conflict": Answer(V.REJECTED, E.NONE, 409, "409"),
    "throttled": Answer(V.THROTTLED, E.NONE, 429, "429"),
    "early": Answer(V.TRANSIENT, E.NONE, 425, "425"),
    "unreached": Answer(V.TRANSIENT, E.NONE, None, "connect_failed"),
    "failed": Answer(V.TRANSIENT, E.MAYBE, 503, "503"),
    "silence": Answer(V.TRANSIENT, E.MAYBE, None, "timeout"),
    "unconfirmed": Answer(V.TRANSIENT, E.MAYBE, 202, NOT_CONFIRMED),
    "split": Answer(V.SPLIT, E.NONE, 413, "413"),
    "refused": Answer(V.FATAL, E.NONE, 403, "403"),
    "untrusted": Answer(V.FATAL, E.NONE, None, "tls_failed"),
    "elsewhere": Answer(V.FATAL, E.MAYBE, 303, "303"),
}
READ_ANSWERS = tuple(name for name in ANSWERS if name not in {"conflict", "unconfirmed", "split"})
LAST_ANSWERS = ("none", "rejected", "conflict", "throttled", "silence", "unconfirmed", "refused")
READING = ("safe reading", "once reading", "guarded reading")
STATES = ("safe", "safe+?", "once", "once+?", "guarded", "guarded+?", "stale", *READING)
UPDATED_FROM = ("safe", "safe+?", "once", "guarded", "guarded+?")
VERIFIED_FROM = (*READING, "once+?")
PRECHECKED_FROM = ("safe", "safe+?", "once", "once+?", "guarded", "guarded+?", "stale")
ATTEMPTS = ("left", "last", "uncounted", "last_call")
READS = ("none", "left", "used")
READS_LEFT = ("left", "last", "uncounted")
FOUND = {
    "held": FoundState(is_held=True, can_tell=False, settle_after_s=5.0),
    "cannot_tell": FoundState(is_held=False, can_tell=False, settle_after_s=5.0),
    "too_early": FoundState(is_held=False, can_tell=True, settle_after_s=15.0),
    "not_applied": FoundState(is_held=False, can_tell=True, settle_after_s=5.0),
}
OUTCOMES = (
    *("unchanged", "applied", "conflict", "missing", "mixed"),
    *("send bare", "send same", "send new"),
)
GUARDS = {"bare": "", "none": "", "same": "guard 1", "new": "guard 2"}
STEPS = tuple(step.value for step in Step)
YES_NO = ("yes", "no")


# States and actions by name


def row_in(state: str) -> Row:
    """A row in a state of the table."""
    base = state.removesuffix(" reading").removesuffix("+?")
    row = Row(JobRow(1, "op", "e", base == "safe", "job"))
    row.in_doubt = base != state
    row.needs_read = state.endswith("reading")
    row.guarded_text = "guard 1" if base == "guarded" else ""
    row.refused_text = "guard 1" if base == "stale" else ""
    row.attempts = int(row.in_doubt or base == "stale")
    if base == "stale":
        row.answer = ANSWERS["conflict"]
    return row


def state_of(row: Row) -> str:
    """The state of a row that has not ended, by its name in the table."""
    kind = "safe" if row.job.is_repeatable else "once"
    base = "guarded" if row.guarded_text else "stale" if row.refused_text else kind
    assert row.in_doubt or not row.needs_read
    return f"{base} reading" if row.needs_read else f"{base}+?" if row.in_doubt else base


def name_of(action: Action | Step, row: Row) -> str:
    """What follows, by its name in the table."""
    match action:
        case Finish(status, _):
            return f"finish {status.value}"
        case Wait(_, is_alone=False):
            return "again"
        case Wait():
            return "read" if row.needs_read else "later"
        case Hold():
            return "hold"
        case Then.AWAIT_CONNECTION:
            return "connect"
        case _:
            return action.name.lower() if isinstance(action, Then) else action.value


def after_doubt(state: str) -> str:
    """The state of the same row once its doubt is resolved."""
    return state.removesuffix(" reading").removesuffix("+?")


def next_state(wanted: str, before: str, row: Row) -> str:
    """The state that a table's word stands for."""
    kind = "safe" if row.job.is_repeatable else "once"
    doubt = before.removeprefix(after_doubt(before))
    words = {
        "same": before,
        "reading": f"{after_doubt(before)} reading",
        "resolved": after_doubt(before),
        "bare": kind + doubt,
        "with_guard": f"guarded{doubt}",
    }
    return words.get(wanted, wanted)


# The tables


Line = tuple[str, ...]
RESULTS = {"next request", "what follows", "next state", "why"}


def read_tables(text: str) -> dict[str, list[Line]]:
    """Title of a section -> the lines of its table, the heading first."""
    tables = {}
    for section in text.split("\n## ")[1:]:
        title, _, below = section.partition("\n")
        rows = [line for line in below.splitlines() if line.startswith("|")]
        cells = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]
        tables[title] = [cells[0], *cells[2:]]
    return tables


TABLES = read_tables(Path(__file__).with_name("row_table.md").read_text())


def line_of(title: str, case: Sequence[str]) -> Line:
    """What the one line says that matches `case`."""
    found = [
        line[len(case) :]
        for line in TABLES[title][1:]
        if all(
            cell == "*" or name in cell.split(" / ") for cell, name in zip(line, case, strict=False)
        )
    ]
    assert len(found) == 1, f"{title}: {len(found)} lines match {case}"
    return found[0]


def judge(title: str, case: Sequence[str], action: Action, row: Row) -> None:
    """Compare what follows with the table."""
    what, state, why = line_of(title, case)
    before = case[0] if case[0] in STATES else state_of(row)
    assert name_of(action, row) == what, (case, why)
    if state == "ended":
        assert isinstance(action, Finish)
    else:
        assert state_of(row) == next_state(state, before, row), (case, why)


def cases(*dimensions: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return product(*dimensions)


def facts_of(row: Row, attempts: str, reads: str = "none", **more: Any) -> Facts:
    """Facts with `attempts` and `reads` left, which are set in the row too."""
    row.counted_attempts = MOST - 1 if attempts in {"last", "uncounted"} else 0
    row.reads = MOST if reads == "used" else 0
    return Facts(
        RETRY,
        can_be_read=reads != "none",
        jitter=0.5,
        is_counted=attempts != "uncounted",
        is_last_call=attempts == "last_call",
        refuses_guard=lambda answer: answer.http_status == 409,
        **more,
    )


def test_the_next_request_of_every_state():
    for case in cases(STATES, YES_NO, YES_NO, YES_NO, YES_NO):
        state, can_be_read, is_prechecked, has_previous, needs_guard = case
        row = row_in(state)
        step = next_step(
            row,
            can_be_read=can_be_read == "yes",
            is_prechecked_first=is_prechecked == "yes",
            needs_guard=lambda needs_guard=needs_guard: needs_guard == "yes",
            has_previous=lambda has_previous=has_previous: has_previous == "yes",
        )
        what, _why = line_of("The next request", case)
        assert name_of(step, row) == what, case


def test_what_follows_from_every_answer_to_an_update():
    count = 0
    for case in cases(UPDATED_FROM, ["alone", "group"], ANSWERS, ATTEMPTS, READS):
        state, size, answer, attempts, reads = case
        if size == "group" and not state.startswith("safe"):
            continue  # a vendor's contract: only what may be repeated shares a request
        row = row_in(state)
        row.attempts += 1
        facts = facts_of(row, attempts, reads)
        action = after_update(row, ANSWERS[answer], facts, size=1 if size == "alone" else 20)
        judge("After an update", case, action, row)
        if size == "alone" and answer != "ok":
            counted = {"left": 1, "last": MOST, "uncounted": MOST - 1, "last_call": MOST}
            assert row.counted_attempts == counted[attempts]
        count += 1
    assert count == (5 + 2) * len(ANSWERS) * 4 * 3


@pytest.mark.parametrize("state", VERIFIED_FROM)
def test_what_follows_from_every_state_that_a_verification_read_finds(state):
    for case in cases([state], FOUND, LAST_ANSWERS, ["left", "last"]):
        _, what, last, attempts = case
        row = row_in(state)
        row.answer = ANSWERS.get(last)
        facts = facts_of(row, attempts, "left")
        row.counted_attempts += attempts == "last"
        action = after_verification(row, FOUND[what], ANSWERS["ok"], facts, since_attempt_s=10.0)
        judge("After a verification read that shows a state", case, action, row)
        if what == "too_early":
            assert action == Wait(5.0)
            assert row.reads == 0


def reads_of(row: Row, reads: str, **more: Any) -> Facts:
    """Facts of a read: it is the last one, or one is left."""
    row.reads = row.failed_prechecks = MOST - 1 if reads in {"last", "uncounted"} else 0
    return Facts(RETRY, can_be_read=True, jitter=0.5, is_counted=reads != "uncounted", **more)


def test_what_follows_from_every_verification_read_that_shows_no_state():
    for case in cases(VERIFIED_FROM, READ_ANSWERS, READS_LEFT, YES_NO):
        state, answer, reads, has_reply = case
        row = row_in(state)
        facts = reads_of(row, reads, has_reply=has_reply == "yes")
        action = after_verification(row, None, ANSWERS[answer], facts, since_attempt_s=10.0)
        what, next_one, why = line_of("After a verification read that shows no state", case)
        assert name_of(action, row) == what, (case, why)
        if next_one != "ended":
            assert state_of(row) == next_state(next_one, state, row)


def test_what_follows_from_every_read_for_a_precondition():
    for case in cases(["once", "stale"], ["none", "same", "new"], ["left", "last"]):
        state, offered, attempts = case
        row = row_in(state)
        row.counted_attempts = MOST if attempts == "last" else 1
        action = after_guard_read(row, GuardOutcome(GUARDS[offered], "expected 1, found 2"), RETRY)
        judge("After a read for a precondition", case, action, row)
        if action is Then.SEND:
            assert row.text == GUARDS[offered]
    for case in cases(["once", "stale"], READ_ANSWERS, YES_NO, READS_LEFT):
        state, answer, is_missing, reads = case
        row = row_in(state)
        action = after_unread_guard(
            row, ANSWERS[answer], reads_of(row, reads), is_missing=is_missing == "yes"
        )
        judge("After a read for a precondition that shows no state", case, action, row)
        if isinstance(action, Finish):
            assert action.answer.effect is E.NONE  # nothing was sent


def test_what_follows_from_every_precheck():
    for case in cases(PRECHECKED_FROM, OUTCOMES, ["left", "last"]):
        state, what, attempts = case
        row = row_in(state)
        row.counted_attempts = MOST if attempts == "last" else 1
        what, _, guard = what.partition(" ")
        found = PrecheckOutcome(PrecheckAction(what), differences=(Difference("f", 1, 2),))
        readied = Readied("merged", GUARDS[guard], "before") if guard else None
        action = after_precheck(row, found, RETRY, readied=readied, receipt="")
        judge("After a precheck", case, action, row)
        assert row.is_prechecked is (action is Then.SEND)
    for case in cases(PRECHECKED_FROM, READ_ANSWERS, READS_LEFT):
        state, answer, reads = case
        row = row_in(state)
        action = after_failed_precheck(row, ANSWERS[answer], reads_of(row, reads))
        judge("After a precheck that shows no state", case, action, row)


def test_a_read_that_shows_something_else_is_told_in_words():
    shown, row = Answer(V.OK, E.NONE, 200), row_in("once")
    facts = reads_of(row, "last")
    for action in (
        after_unread_guard(row, shown, facts, is_missing=False),
        after_failed_precheck(row, shown, facts),
    ):
        assert isinstance(action, Finish)
        assert (action.status, action.answer.code) == (Status.FAILED, "not_the_vendor")
        assert action.answer.message.endswith("not the vendor's description of this entity")
        assert action.answer.hint.startswith("nothing was sent")


def test_what_follows_from_what_is_no_answer():
    for case in cases(STEPS, YES_NO, YES_NO, YES_NO):
        step, in_doubt, was_in_group, is_about_row = case
        row = row_in("safe+?" if in_doubt == "yes" else "safe")
        action = after_refusal(
            row,
            Step(step),
            ANSWERS["refused"],
            was_in_group=was_in_group == "yes",
            is_about_row=is_about_row == "yes",
        )
        judge("When it is known whether a refusal is about the row", case, action, row)
    for case in cases(STATES, YES_NO, ["none", "status", "no_status"], YES_NO):
        state, can_be_read, answer, is_claimed = case
        row = row_in(state)
        row.answer = {"status": ANSWERS["failed"], "no_status": ANSWERS["unreached"]}.get(answer)
        row.is_claimed = is_claimed == "yes"
        judge(
            "When the account stops",
            case,
            after_stop(row, None, can_be_read=can_be_read == "yes"),
            row,
        )
    for case in cases(STEPS, YES_NO):
        row = row_in("safe")
        judge(
            "After a bug of ours",
            case,
            after_bug(row, Step(case[0]), was_answered=case[1] == "yes"),
            row,
        )


def test_the_tables_name_nothing_but_cases_and_give_each_line_a_reason():
    """A misspelt name would match nothing."""
    names = {
        *(*STATES, *ANSWERS, *LAST_ANSWERS, *ATTEMPTS, *READS, *READS_LEFT, *FOUND, *OUTCOMES),
        *(*GUARDS, *STEPS, *YES_NO, "*", "alone", "group", "status", "no_status"),
    }
    for heading, *lines in TABLES.values():
        size = len([name for name in heading if name not in RESULTS])
        for line in lines:
            assert {name for cell in line[:size] for name in cell.split(" / ")} <= names, line
            assert line[-1], line


# Nothing decides beside it

DECIDED = {
    *("attempts", "counted_attempts", "answer", "in_doubt", "needs_read", "reads", "guarded_text"),
    *("refused_text", "is_prechecked", "failed_prechecks", "merged_text"),
}
"""What `row.py` alone writes. Others note what they know: that a row is claimed, or throttled."""

OTHERS = sorted(path for path in WORKERS.glob("*.py") if path.name not in {"row.py", "batches.py"})


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_no_other_file_changes_a_row_or_says_how_it_ends(path):
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [
                ast.unparse(each)
                for target in targets
                for each in ast.walk(target)
                if isinstance(each, ast.Attribute)
                and each.attr in DECIDED
                and ast.unparse(each.value) != "self"
            ]
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".end"):
            found += [each for each in map(ast.unparse, node.args) if each.startswith("Status.")]
    # the doubt of an earlier process is on record
    assert found == (["row.in_doubt"] if path.stem == "entity_queue" else [])


# Single rules


@pytest.mark.parametrize(
    ("effect", "was_in_doubt", "expected"),
    [
        (E.NONE, False, False),  # certainly not applied
        (E.MAYBE, False, True),  # a timeout: who knows
        (E.APPLIED, False, False),
        (E.NONE, True, True),  # a 404 after a silence proves nothing about the silence
        (E.APPLIED, True, False),  # the same request, confirmed: resolve
    ],
)
def test_doubt_stays_until_it_is_applied(effect, was_in_doubt, expected):
    assert is_in_doubt(Answer(V.TRANSIENT, effect), was_in_doubt=was_in_doubt) is expected


@pytest.mark.parametrize(("attempt", "delay_s"), [(1, 0.5), (2, 1.0)])
def test_each_retry_waits_longer(attempt, delay_s):
    row = row_in("safe")
    row.counted_attempts = attempt - 1
    action = after_update(row, ANSWERS["failed"], Facts(RETRY, jitter=0.5))
    assert action == Wait(delay_s, is_alone=False)
    assert row.counted_attempts == attempt


def test_a_row_that_was_not_sent_after_all_has_used_no_attempt():
    row = row_in("safe")
    on_sent(row, Step.UPDATE, 1.0)
    on_lost_turn(row)
    assert not row.was_sent
    on_sent(row, Step.UPDATE, 2.0)
    assert (row.attempts, row.first_sent_s, row.last_sent_s) == (1, 2.0, 2.0)


def test_a_row_whose_request_was_aborted_is_in_doubt():
    row = row_in("safe")
    on_sent(row, Step.UPDATE, 1.0)
    on_cut_off(row)
    assert row.in_doubt


def test_a_row_of_an_earlier_process_counts_from_its_first_read():
    row = row_in("once+?")
    row.attempts = 0
    on_sent(row, Step.VERIFICATION, 3.0)
    on_sent(row, Step.VERIFICATION, 5.0)
    assert (row.attempts, row.last_sent_s) == (1, 3.0)  # the vendor may have worked on it since


def test_a_precheck_counts_for_one_attempt_and_remembers_what_was_there_before_the_first():
    row = row_in("safe")
    sends = PrecheckOutcome(PrecheckAction.SEND)
    after_precheck(row, sends, RETRY, readied=Readied("a", "", "first"), receipt="")
    on_sent(row, Step.PRECHECK, 4.0)
    assert not row.is_prechecked
    row.in_doubt = True
    after_precheck(row, sends, RETRY, readied=Readied("b", "", "second"), receipt="")
    assert (row.text, row.previous_state, row.prechecked_s) == ("b", "first", 4.0)


def test_a_row_that_must_not_be_repeated_is_read_if_no_precondition_can_be_added_in_doubt():
    row = row_in("guarded+?")
    sends = PrecheckOutcome(PrecheckAction.SEND)
    action = after_precheck(row, sends, RETRY, readied=Readied("a", "", "b"), receipt="")
    assert name_of(action, row) == "read"


def test_the_refusal_for_which_a_row_was_held_says_why_it_was_not_attempted():
    row = row_in("safe")
    row.answer = ANSWERS["unreached"]
    end = after_stop(row, "no", can_be_read=False, held=ANSWERS["refused"])
    assert isinstance(end, Finish)
    assert (end.status, end.answer.http_status) == (Status.NOT_ATTEMPTED, 403)
    assert end.answer.message.endswith("no further attempt: no")


def test_rows_that_are_covered_end_with_the_row_that_covers_them_unless_it_was_not_applied():
    ends = {status: end_of_covered(row_in("safe"), status) for status in Status}
    assert {status: end.status for status, end in ends.items() if end is not None} == {
        Status.UPDATED: Status.SUPERSEDED,
        Status.UNCHANGED: Status.SUPERSEDED,
        Status.UNKNOWN: Status.FAILED,
    }
