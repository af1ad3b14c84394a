"""Markdown pages and tables, for the reference that is written from the code."""

from __future__ import annotations

from collections.abc import Iterable

HEADER_LINES = 2  # of a table
MADE = "<!-- Made from the code by `make reference`. Do not edit. -->"


def page(title: str, about: str, *parts: Iterable[str]) -> str:
    """A page that says it is made, and what it is about, before its parts."""
    lines = [f"# {title}", "", MADE, "", about]
    for part in parts:
        lines += ["", *part]
    return "\n".join(lines) + "\n"


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    r"""Lines of a table.

    >>> table(["a"], [["x|y"]])
    ['| a |', '| --- |', '| x\\|y |']
    """
    head = list(header)
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [_line(head), _line("---" for _ in head), *map(_line, cells)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def code(text: object) -> str:
    """Text as code."""
    return f"`{text}`"
