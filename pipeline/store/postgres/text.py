"""Text as it is stored: pure ASCII, because a database has an encoding of its own and no NUL."""

from __future__ import annotations

import json
from collections.abc import Iterable

_encode = json.JSONEncoder(separators=(",", ":")).encode


def stored(text: str) -> str:
    r"""A text as pure ASCII; most texts as they are. The start of a text becomes the start.

    >>> print(stored("shop"), stored("caf\u00e9 \x00"))
    shop caf\u00e9 \u0000
    """
    return _encode(text)[1:-1]


def unstored(text: str) -> str:
    r"""The text that `stored` was given.

    >>> unstored(stored('a "b" \ud800')) == 'a "b" \ud800'
    True
    """
    return str(json.loads(f'"{text}"'))


def array(numbers: Iterable[int] | Iterable[str]) -> str:
    """Whole numbers, or words of letters, as an array of the database.

    >>> array([1, 2]), array([])
    ('{1,2}', '{}')
    """
    return f"{{{','.join(map(str, numbers))}}}"


def lines(records: Iterable[bytes]) -> str:
    r"""Records of JSON as the lines of one text: none holds a line break.

    >>> lines([b"[1]", b"[2]"])
    '[1]\n[2]'
    """
    return b"\n".join(records).decode("ascii")
