"""Reads SQLite's write-ahead log, as far as needed to detect damage.

The log (`-wal`) is a header and frames: a page each, with a checksum over everything up to it. When
the whole log is in the database file, SQLite restarts the log with new salts in the header; frames
have the salts of their header. Source: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

SALTS_AT = (8, 16)
"""Length and offset of the salts."""

_MAGIC = 0x377F0682  # one more if the checksums use big-endian numbers
_HEAD_BYTES = 32
_FRAME_HEAD_BYTES = 24
_TWO = struct.Struct(">II")
_32_BITS = 0xFFFF_FFFF

Sums = tuple[int, int]


class WalHead(NamedTuple):
    """The header of a log.

    order  byte order of the numbers in checksums, in the notation of `struct`
    sums   start value of the checksums of frames
    """

    order: str
    page_bytes: int
    salts: bytes
    sums: Sums


def read_head(log: BinaryIO) -> WalHead | None:
    """Read the header of a log; None if there is none yet. Raises ValueError if it is damaged.

    >>> from io import BytesIO
    >>> read_head(BytesIO(b"")), read_head(BytesIO(bytes(32)))
    (None, None)
    """
    data = log.read(_HEAD_BYTES)
    if len(data) < _HEAD_BYTES or not any(data):  # the header is synced before a frame is written
        return None
    magic, _version, page_bytes = struct.unpack_from(">III", data)
    order = ">" if magic & 1 else "<"
    sums = summed(order, data[:24], (0, 0))
    if magic & ~1 != _MAGIC or sums != _TWO.unpack(data[24:]):
        raise ValueError("the head of the log is not what was written")
    return WalHead(order, page_bytes, data[16:24], sums)


def begins_with_a_commit(log: BinaryIO, head: WalHead) -> bool:
    """True if the frames after the header begin with a whole commit.

    Then SQLite reads at least that commit; otherwise it ignores the log.
    """
    sums, frame_bytes = head.sums, _FRAME_HEAD_BYTES + head.page_bytes
    while len(frame := log.read(frame_bytes)) == frame_bytes:
        sums = summed(head.order, frame[:8], sums)
        sums = summed(head.order, frame[_FRAME_HEAD_BYTES:], sums)
        if frame[8:16] != head.salts or _TWO.unpack_from(frame, 16) != sums:
            return False
        if any(frame[4:8]):  # file size after the commit, only in its last frame
            return True
    return False


def summed(order: str, data: bytes, sums: Sums) -> Sums:
    """The checksum after `data`, whose length is a multiple of eight bytes.

    >>> summed("<", bytes([1, 0, 0, 0, 2, 0, 0, 0]), (0, 0))
    (1, 3)
    """
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) & _32_BITS
        second = (second + other + first) & _32_BITS
    return first, second
