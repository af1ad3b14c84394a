"""Reads and writes JSON as a strict server does, and checks dates. Pure."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from pipeline.simulator.vendor import VendorReply

_JSON_TYPE = re.compile(
    r'application/json\s*(;\s*charset\s*=\s*"?utf-?8"?\s*)?;?\s*', re.IGNORECASE
)
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


def is_json(content_type: str) -> bool:
    """True if a Content-Type means JSON in UTF-8.

    >>> is_json("Application/JSON; charset=utf-8"), is_json("application/json-patch+json")
    (True, False)
    """
    return _JSON_TYPE.fullmatch(content_type) is not None


def parse_json(raw: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises ValueError for anything else, also for NaN, a byte order mark and nesting that is too
    deep for the parser.
    """
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def json_answer(status: int, document: Any, content_type: str = "application/json") -> VendorReply:
    """A reply whose body is a JSON document."""
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return VendorReply(status, body, {"Content-Type": content_type})


def date_time_fault(value: object) -> str | None:
    """Why a value is not an RFC 3339 date-time; None if it is one.

    >>> date_time_fault("2020-04-15T18:16:00+05:00") is None
    True
    >>> date_time_fault("2020-02-30T00:00:00Z")
    'is not a date and time of the calendar'
    """
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        return "must be an RFC 3339 date-time with an offset"
    try:
        datetime.fromisoformat(re.sub(r"\.\d+", "", value).upper())
    except ValueError:
        return "is not a date and time of the calendar"
    return None


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
