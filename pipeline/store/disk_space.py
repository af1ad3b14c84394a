"""Whether the disk has room for a run: better told before the first request than in its middle."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.model import RunAborted

SPARE_BYTES = 64 * 1024**2
"""What a disk keeps free besides; a write-ahead log may grow as large for a moment."""

LEDGER_BYTES_PER_ROW = 250  # measured: 175, and some for long messages
RESULT_BYTES_PER_ROW = 250  # our columns of a result file


def copies_bytes(source_bytes: int) -> int:
    """What the snapshot and the jobs of a file take, at most about.

    >>> copies_bytes(1_000_000)
    4000000
    """
    return 4 * source_bytes  # measured: 0.3 to 2 times, more only for cells that compress badly


def record_bytes(rows: int, source_bytes: int) -> int:
    """What the ledger of `rows` rows and their report take.

    >>> record_bytes(1000, 50_000)
    550000
    """
    return rows * (LEDGER_BYTES_PER_ROW + RESULT_BYTES_PER_ROW) + source_bytes


def check_room(folder: Path, need_bytes: int) -> None:
    """Raise RunAborted where the disk of `folder` has less room than that and some to spare."""
    free_bytes = shutil.disk_usage(folder).free
    if (wrong := shortage(need_bytes, free_bytes)) is not None:
        raise RunAborted(f"{folder}: {wrong}. Nothing was sent; make room, or set `ledger`")


def shortage(need_bytes: int, free_bytes: int) -> str | None:
    """What is wrong, or None where there is room.

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
