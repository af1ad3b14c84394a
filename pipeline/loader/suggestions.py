"""Finds similar names, and lists names for messages. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 12
_NEAR_CHARS = 200  # longer than any known name


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to `name`; None if none is similar.

    >>> nearest("ExternalID", ["name", "external_id"])
    'external_id'
    """
    bare = {_bare(other): other for other in known}
    found = difflib.get_close_matches(_bare(name[:_NEAR_CHARS]), bare, n=1, cutoff=0.7)
    return bare[found[0]] if found else None


def _bare(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum() or char == ".")


def listed(names: Iterable[str]) -> str:
    """The first names, separated by commas, and the number of the others.

    >>> listed(["status", "/a"])
    'status, /a'
    """
    shown = list(names)
    more = f" and {len(shown) - _LISTED} more" if len(shown) > _LISTED else ""
    return ", ".join(shown[:_LISTED]) + more
