"""Copies on a machine of runs that another machine removed do not stay for ever."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.store.postgres.store import PgStore
from tests.store.seam.conftest import began


def test_folders_of_runs_that_are_gone_are_torn_after_a_day(database: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with (
        PgStore(database, environ={}, scratch=here) as store,
        PgStore(database, environ={}, scratch=there) as other,
    ):
        for name in ("gone", "kept"):
            path = began(store, name) and store.files(name).folder / "jobs.parquet"
            path.write_bytes(b"jobs")
            store.files(name).put(path)
            os.utime(store.files(name).folder, (0, 0))
        other.files("gone").remove()
        other.runs.forget("gone")
        (here / "new").mkdir()
        assert other.torn() == []
        assert store.torn() == ["gone"]
        store.files("gone").remove()
        assert sorted(path.name for path in here.iterdir()) == ["kept", "new"]
