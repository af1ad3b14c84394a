"""Names of files and folders that hold no data for us."""

from __future__ import annotations


def is_hidden(name: str) -> bool:
    """True if a file or folder of this name is ignored, such as files written beside data.

    >>> [is_hidden(name) for name in ("_temporary", "_SUCCESS", ".staging", "2026_05")]
    [True, True, True, False]
    """
    return name.startswith((".", "_"))
