"""What can end a run or a command, and the one shape in which a fault is told.

    PipelineError
    ├── UsageError     the command or its arguments are wrong; nothing was sent
    ├── ConfigError    the configuration is wrong; nothing was sent
    ├── InputError     the input file is broken; nothing was sent
    └── RunAborted     the run cannot go on; every row still gets its result

A wrong row raises nothing: it becomes an `invalid` result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

SHOWN_VALUE_CHARS = 60


def shorten(value: object, most: int = SHOWN_VALUE_CHARS) -> str:
    r"""`value` as one line of at most `most` characters, for a message.

    >>> shorten("a\nb")
    "'a\\nb'"
    >>> shorten(r"\N")
    "'\\N'"
    >>> shorten("x" * 10, most=6)
    "'xx..."
    """
    text = f"'{_visible(value)}'" if isinstance(value, str) else repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


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
        """One line.

        >>> str(Fault(what="not a whole number", row=3, line=4, column="limit", value="'x'"))
        "row 3 (line 4), column limit: not a whole number: 'x'"
        """
        where = ", ".join(self._places())
        text = f"{where}: {self.what}" if where else self.what
        if self.value is not None:
            text += f": {self.value}"
        if self.expected:
            text += f"; expected {self.expected}"
        return _visible(f"{text}. {self.todo}" if self.todo else text)

    def _places(self) -> Iterable[str]:
        if self.file:
            yield self.file
        if self.row is not None:
            yield f"row {self.row}" + (f" (line {self.line})" if self.line is not None else "")
        elif self.line is not None:
            yield f"line {self.line}"
        if self.column is not None:
            yield f"column {self.column}"


class PipelineError(Exception):
    """Root of everything that this package raises on purpose."""

    def without_values(self) -> str:
        """Its words without what stands in the input, for those who may not see that."""
        return str(self)


class UsageError(PipelineError):
    """The command or its arguments are wrong."""


class _FaultsError(PipelineError):
    """An error that is a list of faults, one line each."""

    def __init__(self, faults: Iterable[Fault] | str) -> None:
        self.faults: tuple[Fault, ...] = (
            (Fault(what=faults),) if isinstance(faults, str) else tuple(faults)
        )
        super().__init__("\n".join(map(str, self.faults)))


class ConfigError(_FaultsError):
    """The configuration is wrong: every fault of it at once."""


class InputError(_FaultsError):
    """The input file is broken or cannot be sent as it is: nothing was sent."""

    def without_values(self) -> str:
        """Where and what, not the text that stands there.

        >>> InputError([Fault(what="not a number", row=3, value="'x'")]).without_values()
        'row 3: not a number'
        """
        return "\n".join(str(replace(fault, value=None)) for fault in self.faults)


class RunAborted(PipelineError):  # noqa: N818 - it says what happened, not what to catch
    """The run cannot go on, for example because its results cannot be written."""
