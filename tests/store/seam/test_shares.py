"""The shares of a run in the registry."""

from __future__ import annotations

import pytest

from pipeline.model import UsageError
from pipeline.store.seam import Share, ShareChange, ShareState
from tests.store.seam.conftest import began

SHARES = [Share("billing"), *(Share("shop", number, 3) for number in range(3))]


def fresh(share: Share, *, is_open: bool) -> ShareState:
    return ShareState(share, is_open, is_done=False, stopped="", attempts=0, progress="")


def test_the_first_share_of_each_account_may_be_taken(store, other):
    began(store)
    assert store.runs.shares("monday") == []
    store.runs.share("monday", SHARES)
    assert other.runs.shares("monday") == [
        fresh(share, is_open=share.number == 0) for share in SHARES
    ]
    assert other.runs.shares("tuesday") == []


def test_the_same_shares_again_change_nothing_and_others_are_refused(store):
    began(store)
    store.runs.share("monday", SHARES)
    store.runs.change_share("monday", SHARES[1], ShareChange(is_done=True))
    store.runs.share("monday", SHARES)
    assert [each.is_done for each in store.runs.shares("monday")] == [False, True, False, False]
    with pytest.raises(UsageError):
        store.runs.share("monday", [Share("billing"), Share("shop")])


def test_a_change_keeps_the_other_fields(store):
    began(store)
    store.runs.share("monday", SHARES)
    share = SHARES[2]
    store.runs.change_share("monday", share, ShareChange(is_open=True, attempts=2))
    store.runs.change_share("monday", share, ShareChange(progress='{"sent": 7}'))
    store.runs.change_share(
        "monday", share, ShareChange(attempts=0, stopped="the vendor refuses", is_done=True)
    )
    assert store.runs.shares("monday")[2] == ShareState(
        share, True, True, "the vendor refuses", 0, '{"sent": 7}'
    )
    assert store.runs.shares("monday")[3] == fresh(SHARES[3], is_open=False)


def test_shares_go_with_their_run(store):
    began(store)
    store.runs.share("monday", SHARES)
    store.runs.forget("monday")
    assert store.runs.shares("monday") == []
