"""What can end a run or a command, and the one shape in which a fault is told.

    PipelineError
    ├── UsageError     the command or its arguments are wrong; nothing was sent
    ├── ConfigError    the configuration is wrong; nothing was sent
    ├── InputError     the input file is broken; nothing was sent
    └── RunAborted     the run cannot go on; every row still gets its result
        └── DamagedError   a file of ours is not what was written; nothing is done on its word

A wrong row raises nothing: it becomes an `invalid` result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

SHOWN_VALUE_CHARS = 60
SHOWN_FAULTS = 100
"""Of one error: beyond them faults are counted, not kept."""
SHOWN_FAULTS_CHARS = 12_000
_MOST_CHARS = {"where": 300, "what": 600, "value": 200, "expected": 1_500, "todo": 3_000}
"""Of each part of a fault as text: what a part quotes may be as long as the file."""


def shorten(value: object, most: int = SHOWN_VALUE_CHARS) -> str:
    r"""`value` as one line of at most `most` characters, for a message.

    >>> shorten("a\nb")
    "'a\\nb'"
    >>> shorten(r"\N")
    "'\\N'"
    >>> shorten("x" * 10, most=6)
    "'xx..."
    """
    text = f"'{_visible(value[:most])}'" if isinstance(value, str) else _start_of(value, most)
    return clipped(text, most)


def clipped(text: str, most: int) -> str:
    """`text` with at most so many characters.

    >>> clipped("a long text", 9)
    'a long...'
    """
    return text if len(text) <= most else text[: most - 3] + "..."


def _start_of(value: Any, most: int) -> str:
    """The representation of a value, or more than `most` characters of its start.

    >>> _start_of([{"sku": "a", "n": 1}] * 1_000_000, most=20)
    "[{'sku': 'a', 'n': 1}, ...]"
    """
    match value:
        case str() | bytes():
            return repr(value[: most + 1])
        case list():
            return f"[{_joined((_start_of(each, most) for each in value), most)}]"
        case dict():
            items = value.items()
            pairs = (f"{_start_of(k, most)}: {_start_of(v, most)}" for k, v in items)
            return f"{{{_joined(pairs, most)}}}"
    return repr(value)


def _joined(parts: Iterable[str], most: int) -> str:
    found: list[str] = []
    chars = 0
    for part in parts:
        if chars > most:
            return ", ".join([*found, "..."])
        found.append(part)
        chars += len(part) + 2
    return ", ".join(found)


def _visible(text: str) -> str:
    """What cannot be seen as an escape, the rest as it stands in the file."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong, and where.

    what      what is wrong, a phrase without a full stop
    row       number of the record from 1, header not counted; None outside a record
    line      line of the file from 1 where the record starts; None for Parquet
    value     the offending value as shown, already shortened
    expected  what would have been right
    todo      what to do about it
    """

    what: str
    file: str | None = None
    row: int | None = None
    line: int | None = None
    column: str | None = None
    value: str | None = None
    expected: str | None = None
    todo: str | None = None

    def __str__(self) -> str:
        """One line, each part of it no longer than a message holds.

        >>> str(Fault(what="not a whole number", row=3, line=4, column="limit", value="'x'"))
        "row 3 (line 4), column limit: not a whole number: 'x'"
        """
        where = ", ".join(self._places())
        what = clipped(self.what, _MOST_CHARS["what"])
        text = f"{where}: {what}" if where else what
        if self.value is not None:
            text += f": {clipped(self.value, _MOST_CHARS['value'])}"
        if self.expected:
            text += f"; expected {clipped(self.expected, _MOST_CHARS['expected'])}"
        if self.todo:
            text += f". {clipped(self.todo, _MOST_CHARS['todo'])}"
        return _visible(text)

    def _places(self) -> Iterable[str]:
        if self.file:
            yield self.file
        if self.row is not None:
            yield f"row {self.row}" + (f" (line {self.line})" if self.line is not None else "")
        elif self.line is not None:
            yield f"line {self.line}"
        if self.column is not None:
            yield f"column {clipped(self.column, _MOST_CHARS['where'])}"


class PipelineError(Exception):
    """Root of everything that this package raises on purpose."""

    def without_values(self) -> str:
        """Its words without what stands in the input, for those who may not see that."""
        return str(self)


class UsageError(PipelineError):
    """The command or its arguments are wrong."""


class _FaultsError(PipelineError):
    """An error that is a list of faults, one line each.

    faults  the first of them, SHOWN_FAULTS at most; the text says how many there are beyond
    """

    def __init__(self, faults: Iterable[Fault] | str) -> None:
        found = iter([Fault(what=faults)] if isinstance(faults, str) else faults)
        self.faults: tuple[Fault, ...] = tuple(islice(found, SHOWN_FAULTS))
        self._more = sum(1 for _ in found)
        super().__init__(_as_lines(self.faults, self._more))


class ConfigError(_FaultsError):
    """The configuration is wrong: every fault of it at once."""


class InputError(_FaultsError):
    """The input file is broken or cannot be sent as it is: nothing was sent."""

    def without_values(self) -> str:
        """Where and what, not the text that stands there.

        >>> InputError([Fault(what="not a number", row=3, value="'x'")]).without_values()
        'row 3: not a number'
        """
        return _as_lines([replace(fault, value=None) for fault in self.faults], self._more)


def _as_lines(faults: Sequence[Fault], more: int) -> str:
    """A line for each fault, as far as a screen or two go, and how many are left out.

    >>> print(_as_lines([Fault(what="odd")], more=4))
    odd
    ... and 4 more
    """
    lines: list[str] = []
    chars = 0
    for fault in faults:
        line = str(fault)
        chars += len(line)
        if lines and chars > SHOWN_FAULTS_CHARS:
            break
        lines.append(line)
    if left_out := len(faults) - len(lines) + more:
        lines.append(f"... and {left_out} more")
    return "\n".join(lines)


class RunAborted(PipelineError):  # noqa: N818 - it says what happened, not what to catch
    """The run cannot go on, for example because its results cannot be written."""


class DamagedError(RunAborted):
    """A file that this program wrote is not what it wrote; nothing is done on its word."""
