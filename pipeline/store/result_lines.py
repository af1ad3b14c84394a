"""A result as it is stored: the row's number, its status, the rest as JSON, and a checksum."""

from __future__ import annotations

import json
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any
from zlib import crc32

from pydantic_core import from_json

from pipeline.model import RowResult, Status

_encode = json.JSONEncoder(separators=(",", ":")).encode  # pure ASCII for any text

Line = tuple[int, str, int, bytes]

STATUSES = {status.value: status for status in Status}
_ENCODED = {status.value: status.value.encode() for status in Status}


def line_of(result: RowResult, seed: int) -> Line:
    """Row, status, checksum and record of a result.

    seed  seed of the checksums of its run
    """
    row, operation, account, ended, http_status, code, error, hint = result[:8]
    if code or error or hint:
        text = _encode((operation, account, *result[4:]))
    else:  # the same, made faster: most rows
        attempts, seconds, request_id, receipt = result[8:]
        start = _start(operation, account, http_status)
        text = f"{start}{attempts},{seconds!r},{_quoted(request_id)},{_quoted(receipt)}]"
    status, record = str(ended), text.encode()
    return row, status, _checksum(row, status, record, seed), record


@lru_cache(256)
def _start(operation: str, account: str, http_status: int | None) -> str:
    """The record of a plain success up to its attempts, as `_encode` writes it."""
    return _encode((operation, account, http_status, "", "", ""))[:-1] + ","


def _checksum(row: int, status: str, record: bytes, seed: int = 0) -> int:
    return crc32(record, crc32(_ENCODED[status], (row & 0xFFFF_FFFF) ^ seed))


def is_sound(row: Any, status: Any, checksum: Any, record: Any, seed: int) -> bool:
    """True if a line is intact. The values of a damaged line may be of any type."""
    try:
        found = _checksum(row, status, record, seed)
    except (TypeError, ValueError, KeyError):
        return False
    return bool(found == checksum)


def result_of(row: int, status: str, _checksum: int, record: bytes) -> RowResult:
    """The result of a line that is intact."""
    operation, account, *rest = _values(record)
    return RowResult(row, operation, account, STATUSES[status], *rest)


def _values(record: bytes) -> list[Any]:
    try:
        return from_json(record)  # type: ignore[no-any-return] # a list, as it was encoded
    except ValueError:  # half a surrogate pair in a vendor's text, which the slower parser accepts
        return list(json.loads(record))
