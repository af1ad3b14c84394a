"""SQLite's write-ahead log, as far as it must be understood to notice damage in it.

The log (`-wal`) is a head and frames: a page each, with a checksum over all up to there. Salts in
the head are new whenever the log is begun anew, once all of it stands in the file itself; frames
bear the salts of their head. Source: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

SALTS_AT = (8, 16)
"""Length and place of the salts."""

_MAGIC = 0x377F0682  # one more where the checksums are of big-endian numbers
_HEAD_BYTES = 32
_FRAME_HEAD_BYTES = 24
_TWO = struct.Struct(">II")
_32_BITS = 0xFFFF_FFFF

Sums = tuple[int, int]


class WalHead(NamedTuple):
    """What the head of a log says.

    order  of the bytes in numbers that are summed up, as `struct` has it
    sums   what the checksums of its frames start from
    """

    order: str
    page_bytes: int
    salts: bytes
    sums: Sums


def read_head(log: BinaryIO) -> WalHead | None:
    """The head of a log; None where there is none yet. Raises ValueError where it is not sound.

    >>> from io import BytesIO
    >>> read_head(BytesIO(b"")), read_head(BytesIO(bytes(32)))
    (None, None)
    """
    data = log.read(_HEAD_BYTES)
    if len(data) < _HEAD_BYTES or not any(data):  # the head is written and synced before a frame
        return None
    magic, _version, page_bytes = struct.unpack_from(">III", data)
    order = ">" if magic & 1 else "<"
    sums = summed(order, data[:24], (0, 0))
    if magic & ~1 != _MAGIC or sums != _TWO.unpack(data[24:]):
        raise ValueError("the head of the log is not what was written")
    return WalHead(order, page_bytes, data[16:24], sums)


def begins_with_a_commit(log: BinaryIO, head: WalHead) -> bool:
    """Whether the frames from here on, behind the head, begin with a whole commit.

    Then SQLite takes that one and maybe more of them; else it takes nothing of the log.
    """
    sums, frame_bytes = head.sums, _FRAME_HEAD_BYTES + head.page_bytes
    while len(frame := log.read(frame_bytes)) == frame_bytes:
        sums = summed(head.order, frame[:8], sums)
        sums = summed(head.order, frame[_FRAME_HEAD_BYTES:], sums)
        if frame[8:16] != head.salts or _TWO.unpack_from(frame, 16) != sums:
            return False
        if any(frame[4:8]):  # the size of the file after it: only the last frame of a commit has it
            return True
    return False


def summed(order: str, data: bytes, sums: Sums) -> Sums:
    """The checksum after `data`, of eight bytes or a multiple of that.

    >>> summed("<", bytes([1, 0, 0, 0, 2, 0, 0, 0]), (0, 0))
    (1, 3)
    """
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) & _32_BITS
        second = (second + other + first) & _32_BITS
    return first, second
