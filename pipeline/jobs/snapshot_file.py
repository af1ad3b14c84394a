"""Stores a `Snapshot` in the metadata of its Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.model import ROW_COLUMN, Snapshot
from pipeline.store.parquet import read_frames

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
