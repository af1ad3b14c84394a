"""Decides from page headers whether a Parquet file is small enough to decode in this process.

A decoder allocates what the header of a page states before it reads the page, and the process ends
if that is more than there is. So the headers are read first: all sizes and counts must be small,
and agree with the footer and the file. Source: parquet.thrift of Apache Parquet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.store.thrift import Struct, ThriftError, ThriftReader

MAX_UNPACKED_BYTES = 64 << 20
"""Of all pages. They are in memory a few times while they are decoded."""
MAX_VALUES = 4_000_000
"""Of all columns, nulls included: 16 bytes each when decoded, whatever they take in the file."""

_HEADER_BYTES = 8 << 10  # statistics may hold the longest value twice
_MAX_PAGES = 4_000  # 0.2 s

_SCHEMA, _ROWS, _ROW_GROUPS = 2, 3, 4
_REPETITION, _CHILDREN, _REPEATED = 3, 5, 2  # of a column in the schema
_CHUNKS, _GROUP_ROWS, _META = 1, 3, 3
_PHYSICAL, _CODEC, _VALUES, _PACKED, _DATA_AT, _DICTIONARY_AT = 1, 4, 5, 7, 9, 11
_KIND, _PAGE_UNPACKED, _PAGE_PACKED = 1, 2, 3
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_DETAILS = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
_ENCODING_AT = {_DATA: 2, _DICTIONARY: 2, _DATA_V2: 4}

_FIXED_LENGTH = 7  # the schema may state any length for each value
_CODECS = {0, 1, 2, 6}  # none, Snappy, gzip, Zstandard
_ENCODINGS = {0, 2, 3, 8}  # plain, dictionary, runs: the others state counts of their own


class _StatedChunk(NamedTuple):
    start: int
    end: int


class _StatedPage(NamedTuple):
    end: int
    unpacked: int
    values: int


_NOT_AS_EXPECTED = (ValueError, LookupError, TypeError, AttributeError)
"""Errors from fields that are missing or of another type."""


class _NotProvedError(Exception):
    """Something is large, unusual or broken."""


def are_pages_small(descriptor: int, footer: bytes) -> bool:
    """True if decoding needs little memory, whatever the pages contain.

    descriptor  open on the file
    footer      its bytes, without length and magic

    False means only that this is not proved: the file is large, broken, or of a rare form.
    """
    try:
        ThriftReader(footer).struct(())  # every count in it is checked
        _check(descriptor, footer)
    except (_NotProvedError, ThriftError, OSError, *_NOT_AS_EXPECTED):
        return False
    return True


def _check(descriptor: int, footer: bytes) -> None:
    found = ThriftReader(footer).struct({_SCHEMA, _ROWS}, end=_ROW_GROUPS)
    if any(_is_nested(column) for column in found[_SCHEMA][1:]):
        raise _NotProvedError
    unpacked = pages = rows = 0
    reader = ThriftReader(footer)
    for _ in range(reader.enter(_ROW_GROUPS)):
        group = reader.struct({_CHUNKS, _GROUP_ROWS})
        rows += group[_GROUP_ROWS]
        if rows * len(found[_SCHEMA]) > MAX_VALUES:
            raise _NotProvedError
        for column in group[_CHUNKS]:
            in_chunk = 0
            for page in _pages(descriptor, _chunk(column[_META])):
                pages += 1
                unpacked += page.unpacked
                in_chunk += page.values
                if unpacked > MAX_UNPACKED_BYTES or pages > _MAX_PAGES:
                    raise _NotProvedError
            if not in_chunk == column[_META][_VALUES] == group[_GROUP_ROWS]:
                raise _NotProvedError
    if rows != found[_ROWS]:
        raise _NotProvedError


def _is_nested(column: Struct) -> bool:
    return bool(column.get(_CHILDREN)) or column.get(_REPETITION) == _REPEATED


def _chunk(meta: Struct) -> _StatedChunk:
    if meta[_PHYSICAL] == _FIXED_LENGTH or meta[_CODEC] not in _CODECS:
        raise _NotProvedError
    start = min(at for at in (meta.get(_DICTIONARY_AT), meta[_DATA_AT]) if at)
    return _StatedChunk(start, start + meta[_PACKED])


def _pages(descriptor: int, chunk: _StatedChunk) -> Iterator[_StatedPage]:
    at = chunk.start
    while at < chunk.end:
        data = os.pread(descriptor, min(_HEADER_BYTES, chunk.end - at), at)
        reader = ThriftReader(data)
        page = _page(reader.struct(), at + reader.at)
        if page.end > chunk.end:
            raise _NotProvedError
        yield page
        at = page.end


def _page(header: Struct, body_at: int) -> _StatedPage:
    kind = header[_KIND]
    details = header[_DETAILS[kind]]
    unpacked, packed, count = header[_PAGE_UNPACKED], header[_PAGE_PACKED], details[1]
    if min(unpacked, packed, count) < 0 or details[_ENCODING_AT[kind]] not in _ENCODINGS:
        raise _NotProvedError
    if kind == _DICTIONARY:
        if count > unpacked:  # each value takes a byte at least
            raise _NotProvedError
        count = 0
    return _StatedPage(body_at + packed, unpacked, count)
