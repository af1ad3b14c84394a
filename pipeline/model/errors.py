"""Errors that end a run or a command, and `Fault`, the form of every fault.

    PipelineError
    ├── UsageError     the command or its arguments are wrong; nothing was sent
    ├── ConfigError    the configuration is wrong; nothing was sent
    ├── InputError     the input file is broken; nothing was sent
    └── RunAborted     the run cannot continue; every row still gets its result
        ├── NoWorkerError  all workers of the run have ended
        └── DamagedError   a file of ours was changed; it is not used

A wrong row does not raise: it becomes an `invalid` result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

SHOWN_VALUE_CHARS = 60
SHOWN_FAULTS = 100
"""Most faults of one error; further ones are only counted."""
SHOWN_FAULTS_CHARS = 12_000
_MAX_CHARS = {"where": 300, "what": 600, "value": 200, "expected": 1_500, "todo": 3_000}
"""Limits on the parts of a fault's text, because a part may quote the whole file."""


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
    """`text`, cut to at most `most` characters.

    >>> clipped("a long text", 9)
    'a long...'
    """
    return text if len(text) <= most else text[: most - 3] + "..."


def _start_of(value: Any, most: int) -> str:
    """The representation of a value, or more than `most` characters of its start.

    >>> _start_of([{"sku": "a", "n": 1}] * 1_000_000, most=20)
    "[{'sku': 'a', 'n': 1}, ...]"
    >>> from datetime import date
    >>> _start_of([date(2026, 1, 1), None, 2.5], most=99)
    '[2026-01-01, None, 2.5]'
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
    return str(value)  # a date as a date, not as Python code


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
    """`text` with invisible characters as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, and its position.

    what      what is wrong, as a phrase without a full stop
    row       number of the record from 1, without the header; None outside a record
    line      line of the file, from 1, on which the record starts; None for Parquet
    value     the wrong value, already shortened
    expected  what would be right
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
        """The fault as one line, with long parts cut.

        >>> str(Fault(what="not a whole number", row=3, line=4, column="limit", value="'x'"))
        "row 3 (line 4), column limit: not a whole number: 'x'"
        """
        where = ", ".join(self._places())
        what = clipped(self.what, _MAX_CHARS["what"])
        text = f"{where}: {what}" if where else what
        if self.value is not None:
            text += f": {clipped(self.value, _MAX_CHARS['value'])}"
        if self.expected:
            text += f"; expected {clipped(self.expected, _MAX_CHARS['expected'])}"
        if self.todo:
            text += f". {clipped(self.todo, _MAX_CHARS['todo'])}"
        return _visible(text)

    def _places(self) -> Iterable[str]:
        if self.file:
            yield self.file
        if self.row is not None:
            yield f"row {self.row}" + (f" (line {self.line})" if self.line is not None else "")
        elif self.line is not None:
            yield f"line {self.line}"
        if self.column is not None:
            yield f"column {clipped(self.column, _MAX_CHARS['where'])}"


class PipelineError(Exception):
    """Base class of all errors that this package raises on purpose."""

    def without_values(self) -> str:
        """The message without values of the input, for readers who may not see them."""
        return str(self)


class UsageError(PipelineError):
    """The command or its arguments are wrong."""


class _FaultsError(PipelineError):
    """An error with a list of faults, one line each.

    faults  the first SHOWN_FAULTS of them; the text has the number of the others
    """

    def __init__(self, faults: Iterable[Fault] | Fault | str) -> None:
        given = Fault(what=faults) if isinstance(faults, str) else faults
        found = iter([given] if isinstance(given, Fault) else given)
        self.faults: tuple[Fault, ...] = tuple(islice(found, SHOWN_FAULTS))
        self._more = sum(1 for _ in found)
        super().__init__(_as_lines(self.faults, self._more))


class ConfigError(_FaultsError):
    """The configuration is wrong. Lists all its faults."""


class OtherSharesError(ConfigError):
    """A run that is unfinished began with another number of shares than the configuration says."""


class InputError(_FaultsError):
    """The input file is broken or cannot be sent. Nothing was sent."""

    def without_values(self) -> str:
        """The faults without the values.

        >>> InputError([Fault(what="not a number", row=3, value="'x'")]).without_values()
        'row 3: not a number'
        """
        return _as_lines([replace(fault, value=None) for fault in self.faults], self._more)


def _as_lines(faults: Sequence[Fault], more: int) -> str:
    """A line for each fault, up to SHOWN_FAULTS_CHARS, and the number of the others.

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


class RunAborted(PipelineError):  # noqa: N818 - the name says what happened
    """The run cannot continue, for example because its results cannot be written."""


class NoWorkerError(RunAborted):
    """All workers of a run have ended, for a reason that is none of its rows."""


class DamagedError(RunAborted):
    """A file that this program wrote was changed, so it is not used."""


def first_of(group: BaseExceptionGroup[Exception]) -> Exception:
    """The first error of a group, which is no group itself."""
    found = group.exceptions[0]
    return first_of(found) if isinstance(found, BaseExceptionGroup) else found
