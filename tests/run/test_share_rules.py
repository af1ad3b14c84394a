"""Which share is taken, opened and given up, and which worker is started again: decisions alone."""

from __future__ import annotations

import pytest

from pipeline.model import Status
from pipeline.run.share_progress import ShareProgress, Work, by_worker, parse_progress
from pipeline.run.share_rules import (
    KILLED_AT_START,
    MAX_ATTEMPTS,
    first_shares,
    is_over,
    is_proven,
    next_opener,
    no_more_attempts,
    opened_by_answers,
    restart,
    siblings,
    takeable,
)
from pipeline.run.share_stops import SharedStopCheck
from pipeline.runs.stop_if import parse_stop_if
from pipeline.store.seam import Share, ShareState


def states(words: str, account: str = "shop") -> list[ShareState]:
    """`o` open, `c` closed, `d` done and open, `x` done and closed, `s` stopped; one per share."""
    return [
        ShareState(
            Share(account, number, len(words)),
            is_open=word in "ods",
            is_done=word in "dx",
            stopped="why" if word == "s" else "",
            attempts=0,
            progress="",
        )
        for number, word in enumerate(words)
    ]


def numbers(shares: list[Share]) -> list[int]:
    return [each.number for each in shares]


@pytest.mark.parametrize(
    ("words", "mine", "expected"),
    [
        ("occc", [], [0]),  # until the account has opened, only its first share
        ("occc", [0], []),  # a worker has it: the others wait
        ("oooo", [0, 2], [1, 3]),  # all but those that it has
        ("dooo", [], [1, 2, 3]),  # what is done is not taken again
        ("soso", [], [1, 3]),  # nor what was stopped
        ("cccc", [], []),  # another run closed it, or the run was stopped
        ("xocc", [], [1]),  # nothing to send in the first: the next one opens the account
    ],
)
def test_the_next_share_is_open_left_and_not_ones_own(words, mine, expected):
    held = [Share("shop", number, len(words)) for number in mine]
    assert numbers(takeable(states(words), held)) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("occc", False),  # one share is open: nobody has heard from the vendor
        ("oooo", True),  # its answers opened the others
        ("docc", True),  # ... and it is done by now
        ("xocc", False),  # it had nothing to send, and opened the next one only
        ("o", False),
    ],
)
def test_an_account_is_proven_if_several_of_its_shares_are_open(words, expected):
    assert is_proven(states(words), "shop") is expected
    assert not is_proven(states(words, "other"), "shop")


@pytest.mark.parametrize(
    ("words", "number", "expected"),
    [
        ("occc", 0, 1),  # it ended without an answer: one more tries
        ("xocc", 1, 2),
        ("oooo", 0, None),  # the others are open
        ("xxxo", 3, None),  # there is no other
        ("o", 0, None),
    ],
)
def test_a_share_that_ended_without_an_answer_opens_the_next_one(words, number, expected):
    found = next_opener(states(words), Share("shop", number, len(words)))
    assert (None if found is None else found.number) == expected


def test_answers_open_all_shares_of_the_account_that_are_left():
    both = [*states("ocxs"), *states("occ", "other")]
    assert opened_by_answers(both, Share("shop", 0, 4)) == [Share("shop", 1, 4)]
    assert siblings(both, "other") == [each.share for each in states("occ", "other")]
    assert first_shares(both) == [Share("shop", 0, 4), Share("other", 0, 3)]


@pytest.mark.parametrize(
    ("words", "expected"), [("dddd", True), ("ddds", True), ("dddo", False), ("dddc", False)]
)
def test_a_run_is_over_if_no_share_is_left(words, expected):
    assert is_over(states(words)) is expected


@pytest.mark.parametrize(("attempts", "is_given_up"), [(MAX_ATTEMPTS - 1, False), (5, True)])
def test_a_share_is_given_up_after_five_processes(attempts, is_given_up):
    state = states("o")[0]._replace(attempts=attempts)
    assert bool(no_more_attempts(state)) is is_given_up


@pytest.mark.parametrize(
    ("code", "deaths", "delay_s", "words"),
    [
        (0, 0, None, ""),  # nothing was left for it
        (2, 0, None, "exit code 2"),  # its configuration is wrong: again it would be
        (3, 0, None, "exit code 3"),  # a disk is full, or an account was stopped
        (143, 0, None, "exit code 143"),  # somebody ended it
        (-9, 1, 0.5, ""),  # killed: again soon
        (-11, 2, 1.0, ""),  # then later and later
        (1, 3, 2.0, ""),  # a bug of ours counts as a death
        (-9, KILLED_AT_START, 8.0, ""),
        (-9, KILLED_AT_START + 1, None, "was killed 6 times"),
    ],
)
def test_a_worker_that_was_killed_is_started_again(code, deaths, delay_s, words):
    found = restart(code, deaths)
    assert found.delay_s == delay_s
    assert words in found.why


def progress(**counts: int) -> ShareProgress:
    return ShareProgress(done={Status(name): count for name, count in counts.items()})


def test_a_condition_is_met_by_the_shares_together():
    check = SharedStopCheck([parse_stop_if("errors > 5%")])
    assert check.reason([progress(updated=96, failed=4), progress()]) is None
    assert check.reason([progress(updated=96, failed=4), progress(updated=90, failed=9)])
    assert check.reason([progress(failed=90), progress(failed=90)]) is None  # once


def test_a_window_of_the_last_rows_forgets_earlier_ones():
    check = SharedStopCheck([parse_stop_if("errors > 10% of last 100")])
    assert check.reason([progress(updated=500, failed=10)]) is None
    assert check.reason([progress(updated=600, failed=14)]) is None
    assert check.reason([progress(updated=640, failed=30)]) is not None


def test_progress_is_read_as_it_was_written():
    written = ShareProgress(
        limits="20/s", work=(Work(who="a:1", rows=3),), done={Status.UPDATED: 3}, sent=4
    )
    assert parse_progress(written.text) == written
    assert parse_progress("") == ShareProgress()


def test_what_a_worker_did_is_summed_over_its_shares():
    first = ShareProgress(work=(Work(who="a:1", rows=3, requests=4), Work(who="b:2", rows=1)))
    second = ShareProgress(work=(Work(who="a:1", rows=2, requests=2),))
    found = by_worker([first, second])
    assert found["a:1"] == Work(who="a:1", rows=5, requests=6)
    assert [*found] == ["a:1", "b:2"]
