"""Stores a `Snapshot` in the metadata of its Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.model import ROW_COLUMN, DamagedError, Fault, InputError, Snapshot
from pipeline.model.object_path import named_path
from pipeline.store.checksums import read_checksums
from pipeline.store.parquet import FORMAT, read_frames, read_metadata, row_count

_KEY = "snapshot"


def to_metadata(snapshot: Snapshot) -> dict[str, str]:
    """All fields except the path and checksum, as one JSON text under one key."""
    facts: dict[str, Any] = {**asdict(snapshot), "source": str(snapshot.source)}
    del facts["path"], facts["checksum"]
    return {_KEY: json.dumps(facts)}


def row_numbers(path: Path) -> Iterator[list[int]]:
    """The row numbers of a snapshot, ascending, in batches. Raises as `read_frames` does."""
    for frame in read_frames(path, columns=(ROW_COLUMN,)):
        yield frame[ROW_COLUMN].to_list()


def open_snapshot(path: Path) -> Snapshot:
    """Read a snapshot from its file. Raises InputError if the file is not a whole snapshot."""
    try:
        checksums = read_checksums(path)
        stored = read_metadata(path)
        rows = row_count(path)
    except (DamagedError, pl.exceptions.PolarsError, OSError) as error:
        raise _refused(path, f"cannot be read as a snapshot: {error}") from None
    if _KEY not in stored:
        raise _refused(path, "is not a snapshot of an input")
    if stored.get("format") != FORMAT:
        raise _refused(path, f"has format {stored.get('format')}, this version reads {FORMAT}")
    facts = json.loads(stored[_KEY])
    snapshot = Snapshot(
        path=path,
        source=named_path(facts.pop("source")),
        columns=tuple(facts.pop("columns")),
        zoneless=tuple(facts.pop("zoneless", ())),
        unread={name: tuple(why) for name, why in facts.pop("unread", {}).items()},
        checksum="" if checksums is None else checksums.digest,
        **facts,
    )
    if rows != snapshot.selected:
        raise _refused(path, f"holds {rows} rows, expected {snapshot.selected}")
    return snapshot


def _refused(path: Path, what: str) -> InputError:
    return InputError(Fault(what=what, file=str(path)))
