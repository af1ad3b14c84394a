"""Checks before the first request that the disk has room for a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.model import RunAborted

SPARE_BYTES = 64 * 1024**2
"""Extra free space; a write-ahead log may reach this size for a moment."""

LEDGER_BYTES_PER_ROW = 250  # measured: 175, and some for long messages
RESULT_BYTES_PER_ROW = 250  # our columns of a result file


def copies_bytes(source_bytes: int) -> int:
    """Approximate upper limit on the size of the snapshot and jobs of a file.

    >>> copies_bytes(1_000_000)
    4000000
    """
    return 4 * source_bytes  # measured: 0.3 to 2 times, more only for cells that compress badly


def record_bytes(rows: int, source_bytes: int) -> int:
    """Approximate size of the ledger and report of `rows` rows.

    >>> record_bytes(1000, 50_000)
    550000
    """
    return rows * (LEDGER_BYTES_PER_ROW + RESULT_BYTES_PER_ROW) + source_bytes


def check_room(folder: Path, need_bytes: int) -> None:
    """Raise RunAborted if the disk of `folder` has no room for that and SPARE_BYTES."""
    free_bytes = shutil.disk_usage(folder).free
    if (wrong := shortage(need_bytes, free_bytes)) is not None:
        raise RunAborted(f"{folder}: {wrong}. Nothing was sent; make room, or set `ledger`")


def shortage(need_bytes: int, free_bytes: int) -> str | None:
    """How much space is missing, as a message; None if there is enough.

    >>> shortage(10**6, 10**9)
    >>> shortage(10**9, 10**9)
    'the run needs about 1,067 MB, and 1,000 MB are free'
    """
    wanted_bytes = need_bytes + SPARE_BYTES
    if free_bytes >= wanted_bytes:
        return None
    return (
        f"the run needs about {wanted_bytes // 10**6:,} MB, and {free_bytes // 10**6:,} MB are free"
    )
