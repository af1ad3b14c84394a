"""Checks that a value survives JSON text and UTF-8 unchanged. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

EXPECTED: Final = "expected JSON: numbers of 64 bits, whole characters, 100 levels"
"""The condition of `is_json` in words."""

_LARGEST = 2**63 - 1
_MAX_LEVELS = 100  # every JSON parser has a limit; ours is 200


def is_json(value: Any) -> bool:
    """True if a value is the same after it is written as JSON and read again.

    >>> is_json({"a": [1, 2.5, None]}), is_json([float("nan")]), is_json({1: 2})
    (True, False, False)
    """
    left = [(value, 1)]
    while left:
        one, level = left.pop()
        if level > _MAX_LEVELS:
            return False
        if isinstance(one, dict):
            if not all(isinstance(key, str) and is_whole(key) for key in one):
                return False
            left += [(inner, level + 1) for inner in one.values()]
        elif isinstance(one, list):
            left += [(inner, level + 1) for inner in one]
        elif not _is_simple(one):
            return False
    return True


def _is_simple(value: Any) -> bool:
    match value:
        case bool() | None:
            return True
        case int():
            return -_LARGEST - 1 <= value <= _LARGEST
        case float():
            return math.isfinite(value)
    return isinstance(value, str) and is_whole(value)


def is_whole(text: str) -> bool:
    r"""True if UTF-8 can hold a text. It cannot hold half a surrogate pair.

    >>> is_whole("größe"), is_whole("\ud800")
    (True, False)
    """
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
