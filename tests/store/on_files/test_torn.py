"""Of folders without an entry in the registry, those go of which nothing can have been sent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.model import RunAborted
from pipeline.store.on_files import FileStore, files
from pipeline.store.seam import Share, run_lease, share_lease

RUN = "20260501T020000Z-coupons-abcd"
SHARE = Share("shop", 0, 2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    """A store with the folder of a run that was prepared and has no entry."""
    with closing(FileStore(tmp_path / "ledger.db")) as each:
        folder = each.files(RUN).make_folder()
        each.new_ledger(RUN).close()
        (folder / "run.json").touch()
        yield each


def torn(store: FileStore) -> list[str]:
    """What is torn two days later."""
    os.utime(store.files(RUN).folder, (0, 0))
    return store.torn()


def test_a_prepared_run_without_an_entry_is_torn_after_a_day(store):
    assert store.torn() == []
    with store.ledger(RUN, None, None):  # to read
        assert torn(store) == [RUN]


@pytest.mark.parametrize("share", [None, SHARE])
def test_a_run_whose_record_was_opened_to_send_is_never_torn(store, share):
    with store.lease(share_lease(RUN, share) if share else run_lease(RUN)) as held:
        assert held.take()
        store.ledger(RUN, share, held).__enter__().close()
    assert torn(store) == []


def test_nothing_can_be_recorded_where_that_cannot_be_noted(store, monkeypatch):
    def refuse(path: Path, *, missing_ok: bool) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with store.lease(run_lease(RUN)) as held:
        assert held.take()
        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(RunAborted, match="unsent cannot be removed: Permission denied"):
            store.ledger(RUN, None, held)
    assert torn(store) == [RUN]


def test_what_a_killed_removal_leaves_is_torn(store, monkeypatch):
    with store.lease(run_lease(RUN)) as held:
        assert held.take()
        store.ledger(RUN, None, held).__enter__().close()

    def killed(_folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        store.files(RUN).remove()
    assert torn(store) == [RUN]


def test_it_is_noted_for_ever_although_the_process_that_noted_it_may_have_died_in_the_middle(
    store, monkeypatch
):
    """Between removing it and syncing the folder: then power is lost, and it is back."""
    synced: list[Path] = []
    (store.files(RUN).folder / "unsent").unlink()
    monkeypatch.setattr(files, "sync_folder", synced.append)
    with store.lease(run_lease(RUN)) as held:
        assert held.take()
        store.ledger(RUN, None, held).__enter__().close()
    assert synced == [store.files(RUN).folder]
