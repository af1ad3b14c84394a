"""A worker that stood still for longer than its lease, and wakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.run import RunEnvironment
from pipeline.run.one_share import HeldShare
from pipeline.run.share_progress import ShareProgress
from pipeline.run.share_worker import _Worker
from pipeline.runs import open_store
from pipeline.store.lease_renewal import RenewedLease
from pipeline.store.seam import ShareState, share_lease
from tests.run.test_share_records import SHARES, sent_in_shares


def woken(folder: Path, *, is_held: bool) -> list[ShareState]:
    """The shares of a run after a look by a worker that had the first one."""
    prepared = sent_in_shares(folder)
    store = open_store(prepared.config)
    worker = _Worker(prepared, RunEnvironment(), {}, "w")
    with RenewedLease(store.lease(share_lease(prepared.run, SHARES[0]))) as lease:
        held = HeldShare(
            share=SHARES[0],
            account=prepared.config.outline("shop"),
            lease=lease,
            before=ShareProgress(),
            attempts=0,
            is_proven=True,
            who="w",
            on_news=lambda: None,
        )
        worker.held[held.share] = held
        if is_held:
            assert lease.take()
        worker._exchange([(held, ShareProgress(sent=7))])
    return store.runs.shares(prepared.run)


@pytest.mark.parametrize("is_held", [True, False])
def test_it_opens_no_shares_and_tells_nothing_unless_its_share_is_surely_its_own(tmp_path, is_held):
    """Another run may have closed them; another worker may have ended its share."""
    first, second = woken(tmp_path, is_held=is_held)
    assert bool(first.progress) == is_held
    assert second.is_open == is_held
