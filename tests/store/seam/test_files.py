"""The files of a run."""

from __future__ import annotations

import stat

import pytest

from pipeline.model import RunAborted
from tests.store.seam.conftest import began, run


def test_a_file_that_was_put_can_be_fetched_elsewhere(store, other):
    files = store.files("monday")
    folder = files.make_folder()
    assert folder == files.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    path = folder / "jobs.parquet"
    path.write_bytes(b"x" * 3_000_000)
    files.put(path)
    assert files.has("jobs.parquet")
    fetched = other.files("monday").fetch("jobs.parquet")
    assert fetched.name == "jobs.parquet"
    assert fetched.parent == other.files("monday").folder
    assert fetched.read_bytes() == path.read_bytes()
    assert other.files("monday").size_bytes() >= 3_000_000


def test_a_file_that_was_not_put_is_missed(store):
    began(store)
    assert not store.files("monday").has("jobs.parquet")
    with pytest.raises(RunAborted):
        store.files("monday").fetch("jobs.parquet")


def test_a_folder_is_made_once(store):
    store.files("monday").make_folder()
    with pytest.raises(RunAborted):
        store.files("monday").make_folder()


def test_files_and_record_are_removed_together(store, other):
    began(store)
    files = store.files("monday")
    (files.folder / "jobs.parquet").write_bytes(b"x")
    files.put(files.folder / "jobs.parquet")
    files.remove()
    assert not other.files("monday").has("jobs.parquet")
    with pytest.raises(RunAborted):
        other.ledger("monday", None, None).__enter__()
    files.remove()  # there is nothing left
    store.runs.forget("monday")
    began(store)  # and the name is free


def test_preparations_under_way_are_not_torn(store):
    store.files("20260501T020000Z-a-bcde").make_folder()
    store.runs.add(run("20260501T020000Z-b-bcde"))
    assert store.torn() == []
