"""Reads the columns of a Parquet file from its footer, before any library decodes it. Pure.

Finds duplicate names, types that cannot be read, and bytes to patch so that polars does not panic.
Source: parquet.thrift of Apache Parquet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.loader.arrow_zones import in_utc
from pipeline.store.thrift import Struct, ThriftError, ThriftReader, TooManyError

MAGIC = b"PAR1"
END_BYTES = 8
"""Length of the footer's size and MAGIC."""

_SCHEMA, _ROWS, _ROW_GROUPS, _KEY_VALUES = 2, 3, 4, 5
_CHUNKS, _META, _VALUES, _UNPACKED_BYTES = 1, 3, 5, 6  # of a row group, of one of its columns
_PHYSICAL, _NAME, _CHILDREN, _CONVERTED, _LOGICAL = 1, 4, 5, 6, 10
_ARROW_SCHEMA = b"ARROW:schema"
_TEXT_FIELD = 0x18  # the next field, a text
_MAX_LEVELS = 40
_MAX_ELEMENTS = 40_000  # of a schema, nested ones counted

INT96 = 3
_INTERVAL, _JSON = 21, 19
_LOGICAL_JSON, _LOGICAL_UUID = 12, 14


_NOT_AS_EXPECTED = (ValueError, KeyError, IndexError, TypeError, AttributeError)
"""Errors from fields that are missing or of another type."""


class FooterError(ValueError):
    """The bytes are not the footer of a Parquet file."""


class TooManyColumnsError(FooterError):
    """There are too many columns, nested ones included, to read them."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} columns")
        self.count = count


@dataclass(frozen=True, slots=True)
class Leaf:
    """A stored column. A struct has one per member, a list one for its items.

    physical   number of the stored type
    converted  number of the older annotation; None if there is none
    logical    number of the annotation; None if there is none
    """

    physical: int
    converted: int | None
    logical: int | None

    @property
    def is_uuid(self) -> bool:
        """16 bytes, written as text."""
        return self.logical == _LOGICAL_UUID

    @property
    def is_json(self) -> bool:
        """Text, stored as bytes."""
        return self.logical == _LOGICAL_JSON or self.converted == _JSON

    @property
    def is_interval(self) -> bool:
        """Months, days and milliseconds in 12 bytes."""
        return self.converted == _INTERVAL


@dataclass(frozen=True, slots=True)
class Node:
    """A top-level column, with its leaves in the order of the file.

    twice  a name that two members of one struct have; None if there is none
    """

    name: str
    leaves: tuple[Leaf, ...]
    twice: str | None = None


class Patch(NamedTuple):
    """Bytes to put into a copy of the footer, at an offset in it."""

    at: int
    new: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """The facts of a footer.

    columns  in the order of the file
    rows     number of rows that it states
    patches  prevent a panic of polars; they do not change the values of the columns
    offsets  by column, the offset from UTC in which its timestamps were written
    """

    columns: tuple[Node, ...]
    rows: int
    patches: tuple[Patch, ...] = ()
    offsets: Mapping[str, str] = field(default_factory=dict)


def read_footer(footer: bytes) -> Footer:
    """Read a footer. Raises FooterError."""
    try:
        reader = ThriftReader(footer, most=_MAX_ELEMENTS)
        found = reader.struct({_SCHEMA, _ROWS}, end=_ROW_GROUPS)
        elements = found[_SCHEMA]
        columns = tuple(_nodes(elements))
        rows = int(found[_ROWS])
        patches = [patch for each in elements for patch in _without_interval(footer, each)]
    except TooManyError as error:
        raise TooManyColumnsError(error.count) from error
    except _NOT_AS_EXPECTED as error:
        raise FooterError(str(error)) from error
    patched, offsets = _zones(footer)
    return Footer(
        columns=columns, rows=rows, patches=(*patches, *patched),
        offsets=offsets,
    )  # fmt: skip


class Chunk(NamedTuple):
    """The values of one leaf in one row group, as the footer states them.

    leaf            number of the leaf, in the order of the file
    values          number of values, including nulls
    unpacked_bytes  size of its pages, including their headers
    """

    leaf: int
    values: int
    unpacked_bytes: int


def chunks(footer: bytes) -> Iterator[Chunk]:
    """The column chunks of a file, one at a time. Raises FooterError."""
    reader = ThriftReader(footer)
    try:
        for _ in range(reader.enter(_ROW_GROUPS)):
            for leaf in range(reader.enter(_CHUNKS)):
                reader.enter(_META)
                stated = reader.struct({_VALUES, _UNPACKED_BYTES})
                reader.leave()
                yield Chunk(leaf, int(stated[_VALUES]), int(stated[_UNPACKED_BYTES]))
            reader.leave()
    except _NOT_AS_EXPECTED as error:
        raise FooterError(str(error)) from error


def key_values(footer: bytes) -> dict[str, str]:
    """The key-value pairs of a footer. Raises FooterError."""
    try:
        pairs = ThriftReader(footer).struct({_KEY_VALUES}).get(_KEY_VALUES, [])
        return {pair[1].decode(): pair.get(2, b"").decode() for pair in pairs}
    except _NOT_AS_EXPECTED as error:
        raise FooterError(str(error)) from error


def _nodes(elements: Sequence[Struct]) -> Iterator[Node]:
    at = 1
    for _ in range(elements[0].get(_CHILDREN, 0)):
        start = at
        at = _end_of(elements, at)
        own = elements[start:at]
        yield Node(
            name=own[0][_NAME].decode(),
            leaves=tuple(
                Leaf(each[_PHYSICAL], each.get(_CONVERTED), _annotation(each))
                for each in own
                if not each.get(_CHILDREN)
            ),
            twice=_twice(elements, start),
        )
    if at != len(elements):
        raise FooterError("more columns than the root has")


def _end_of(elements: Sequence[Struct], at: int, level: int = 0) -> int:
    """The index after the element at `at` and everything nested in it."""
    if level > _MAX_LEVELS:
        raise FooterError("nested too deep")
    after = at + 1
    for _ in range(elements[at].get(_CHILDREN) or 0):
        after = _end_of(elements, after, level + 1)
    return after


def _twice(elements: Sequence[Struct], at: int) -> str | None:
    """A name that two members of one struct have, at any depth."""
    seen: set[bytes] = set()
    child = at + 1
    for _ in range(elements[at].get(_CHILDREN) or 0):
        name = elements[child][_NAME]
        if name in seen:
            return str(name.decode())
        seen.add(name)
        if found := _twice(elements, child):
            return found
        child = _end_of(elements, child)
    return None


def _annotation(element: Struct) -> int | None:
    return next(iter(element.get(_LOGICAL) or {}), None)


def _without_interval(footer: bytes, element: Struct) -> list[Patch]:
    """Patches that turn the interval annotation into an unused scale, so polars reads bytes.

    The field keeps its length; only its id changes, and the step to the id of the next field.
    """
    if element.get(_CONVERTED) != _INTERVAL:
        return []
    value = element.places[_CONVERTED]
    following = footer[value + 1]
    step = 0x10 if following >> 4 else 0
    return [
        Patch(value - 1, bytes([footer[value - 1] + 0x10])),
        Patch(value + 1, bytes([following - step])),
    ]


def _zones(footer: bytes) -> tuple[list[Patch], dict[str, str]]:
    """Patches for time zones without a name in the Arrow schema, and the offsets of columns."""
    key = bytes([_TEXT_FIELD, len(_ARROW_SCHEMA)]) + _ARROW_SCHEMA
    at = footer.rfind(key)
    if at < 0 or footer[at + len(key) : at + len(key) + 1] != bytes([_TEXT_FIELD]):
        return [], {}
    try:
        stored, place = ThriftReader(footer, at + len(key) + 1).text()
    except ThriftError:
        return [], {}
    changed = in_utc(stored)
    return ([Patch(place, changed[0])], changed[1]) if changed else ([], {})
