"""How many jobs share their entity with another, counted in bounded memory."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import polars as pl

from pipeline.tables import read_frames

PART_ROWS = 250_000
"""Rows whose entities are held in memory at once, about."""

_PARTS_MOST = 256  # as many files are open at once
_READ_ROWS = 65_536


def count_repeated(path: Path, rows: int, *, part_rows: int = PART_ROWS) -> int:
    """Jobs of the file at `path` whose entity stands there more than once.

    Entities count as equal when their 64-bit hashes are: of ten million different entities, two do
    so in one run of some 300,000.
    """
    parts = min(_PARTS_MOST, -(-rows // part_rows))
    if parts <= 1:
        return _repeated(pl.concat([pl.Series(dtype=pl.UInt64), *_hashes(path)]))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        files = [Path(folder, str(part)) for part in range(parts)]
        _distribute(path, files)
        return sum(_repeated(_load(file)) for file in files)


def _hashes(path: Path) -> Iterator[pl.Series]:
    for frame in read_frames(path, columns=("entity",), batch_rows=_READ_ROWS):
        yield frame["entity"].hash()


def _distribute(path: Path, files: list[Path]) -> None:
    """Equal hashes into the same file."""
    with ExitStack() as stack:
        outs: list[BinaryIO] = [stack.enter_context(file.open("wb")) for file in files]
        for hashes in _hashes(path):
            frame = pl.DataFrame({"hash": hashes, "part": hashes % len(files)})
            for (part,), rows in frame.partition_by("part", as_dict=True).items():
                array("Q", rows["hash"].to_list()).tofile(outs[part])


def _load(file: Path) -> pl.Series:
    hashes = array("Q")
    hashes.frombytes(file.read_bytes())
    return pl.Series(hashes, dtype=pl.UInt64)


def _repeated(hashes: pl.Series) -> int:
    """Values that occur more than once, each occurrence counted."""
    counts = hashes.value_counts(name="jobs")["jobs"]
    return int(counts.filter(counts > 1).sum())
