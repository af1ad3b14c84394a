"""Time zones in the Arrow schema of a Parquet footer.

Source: Schema.fbs and Message.fbs of Apache Arrow, flatbuffers' internals. A zone only affects how
Arrow programs show a timestamp; it is stored as a count from 1970 in UTC.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple
from zoneinfo import available_timezones

_CONTINUED = b"\xff\xff\xff\xff"
_TIMESTAMP = 10
_HEADER, _FIELDS, _NAME, _KIND, _TYPE, _CHILDREN, _ZONE = 2, 1, 0, 2, 3, 5, 1
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?")
_UTC = b"UTC\0"
_MAX_FIELDS = 40_000


class Zone(NamedTuple):
    """A time zone in a schema.

    path  names of the column and of its nested fields
    at    byte at which the length of its name begins
    """

    path: tuple[str, ...]
    name: str
    at: int


def in_utc(stored: bytes) -> tuple[bytes, dict[str, str]] | None:
    """Replace zones that are not named time zones with UTC.

    stored   the schema in base64, as in the footer
    returns  the changed schema, of the same length, and the offset that each column had; None if
             nothing has to change, or the bytes are not such a schema
    """
    try:
        data = bytearray(base64.b64decode(stored, validate=True))
        odd = [zone for zone in _zones(bytes(data)) if zone.name not in _known()]
    except (binascii.Error, struct.error, ValueError, IndexError):
        return None
    for zone in odd:
        data[zone.at : zone.at + 8] = struct.pack("<I", 3) + _UTC
    offsets = {z.path[0]: o for z in odd if len(z.path) == 1 and (o := offset(z.name))}
    return (base64.b64encode(data), offsets) if odd else None


def offset(zone: str) -> str | None:
    """An offset from UTC in the form of RFC 3339; None if `zone` is not an offset.

    >>> offset("+0530"), offset("-08"), offset("Europe/Berlin")
    ('+05:30', '-08:00', None)
    """
    found = _OFFSET.fullmatch(zone)
    if found is None or int(found[2]) > 23 or int(found[3] or 0) > 59:  # noqa: PLR2004 - of a clock
        return None
    return f"{found[1]}{found[2]}:{found[3] or '00'}"


def _known() -> frozenset[str]:
    return frozenset({*available_timezones(), "", "+00:00"})  # polars takes the last as UTC


def _zones(data: bytes) -> Iterator[Zone]:
    """All zones. Tables may refer to each other in cycles, so the number of fields is limited."""
    start = 8 if data[:4] == _CONTINUED else 4
    schema = _FlatTable(data, start + _number(data, start)).table(_HEADER)
    waiting: list[tuple[_FlatTable, tuple[str, ...]]] = []
    waiting += [(field, ()) for field in schema.tables(_FIELDS)] if schema else []
    count = 0
    while waiting:
        field, above = waiting.pop()
        count += 1
        if count > _MAX_FIELDS:
            raise ValueError("too many fields")
        at = field.text_at(_NAME)
        path = (*above, _text(data, at) if at else "")
        kind = field.table(_TYPE)
        if field.byte(_KIND) == _TIMESTAMP and kind is not None and (at := kind.text_at(_ZONE)):
            yield Zone(path, _text(data, at), at)
        waiting += [(child, path) for child in field.tables(_CHILDREN)]


class _FlatTable:
    """A table in a flatbuffer."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self._at = at
        self._fields_at = at - struct.unpack_from("<i", data, at)[0]
        self._size = struct.unpack_from("<H", data, self._fields_at)[0]

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry >= self._size:
            return None
        step = struct.unpack_from("<H", self.data, self._fields_at + entry)[0]
        return self._at + step if step else None

    def byte(self, field: int) -> int:
        place = self._place(field)
        return self.data[place] if place is not None else 0

    def text_at(self, field: int) -> int | None:
        place = self._place(field)
        return None if place is None else place + _number(self.data, place)

    def table(self, field: int) -> _FlatTable | None:
        place = self.text_at(field)
        return None if place is None else _FlatTable(self.data, place)

    def tables(self, field: int) -> Iterator[_FlatTable]:
        place = self.text_at(field)
        if place is None:
            return
        for index in range(min(_number(self.data, place), _MAX_FIELDS)):
            entry = place + 4 + 4 * index
            yield _FlatTable(self.data, entry + _number(self.data, entry))


def _number(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _text(data: bytes, at: int) -> str:
    return data[at + 4 : at + 4 + _number(data, at)].decode()
