"""Output of `pipeline runs`: text or JSON lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from pipeline.cli.console import emit, terminal
from pipeline.model.formatting import one_line

FORMAT = 1


class RunsOutput:
    """Output of `runs`: text or JSON lines on stdout, and notes on stderr."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.console = terminal()
        self._notes = terminal(stderr=True)

    def line(self, **values: Any) -> None:
        """Print one JSON object."""
        emit(json.dumps({"format": FORMAT, **values}, separators=(",", ":")))

    def say(self, words: str) -> None:
        """Print text to stdout, unless JSON goes there."""
        if not self.is_json:
            self.console.print(Text(words), soft_wrap=True)

    def note(self, words: str) -> None:
        """Print a note to stderr."""
        self._notes.print(Text(one_line(words)), soft_wrap=True)


def iso(time: datetime | None) -> str | None:
    """A time in UTC to the second, such as 2026-05-01T18:00:00+00:00; None stays None."""
    return time.astimezone(UTC).isoformat(timespec="seconds") if time else None
