"""stdout and stderr, as every command writes to them.

No foreign text can steer a terminal, and no run ends because somebody stopped reading: an output
that cannot be written any more is silent from then on.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from rich.console import Console, ConsoleRenderable, RenderHook

from pipeline.ui.terminal.printable import Printable


class ConsoleOutput(io.TextIOBase):
    """stdout or stderr; what cannot be written is lost.

    A reader that went away, a full disk and a closed descriptor are the same: the descriptor leads
    to /dev/null from then on, so that the interpreter does not stumble over it at its exit either.
    """

    def __init__(self, *, is_stderr: bool) -> None:
        # now, and not with each line: rich puts a proxy of the console itself into their place
        self._stream: TextIO | None = sys.stderr if is_stderr else sys.stdout

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person reads it."""
        stream = self._stream
        return stream is not None and stream.isatty()

    def fileno(self) -> int:
        """Of the stream. Raises OSError where it has none."""
        stream = self._stream
        if stream is None:
            raise OSError("this output is closed")
        return stream.fileno()

    def write(self, text: str) -> int:
        """All of `text`, or nothing."""
        try:
            if self._stream is not None:
                self._stream.write(text)
        except (OSError, ValueError):
            self._give_up()
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


class _Harmless(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [Printable(each) for each in renderables]


def terminal(*, stderr: bool = False, quiet: bool = False, soft_wrap: bool = False) -> Console:
    """A console on stdout or stderr; all that is printed to it is `Printable`."""
    output = ConsoleOutput(is_stderr=stderr)
    console = Console(file=output, quiet=quiet, soft_wrap=soft_wrap, highlight=False)  # type: ignore[arg-type]
    console.push_render_hook(_Harmless())
    return console


def emit(line: str) -> None:
    """A line for a program, on stdout, as it is."""
    output = ConsoleOutput(is_stderr=False)
    output.write(f"{line}\n")
    output.flush()
