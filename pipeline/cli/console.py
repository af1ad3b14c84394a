"""stdout and stderr of every command.

Foreign text cannot control the terminal. A reader that stops ends no command: what it does not read
is dropped. So is what stderr cannot take. If stdout cannot be written otherwise, for example to a
full disk, that is an error: what it holds is not whole.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from rich.console import Console, ConsoleRenderable, RenderHook

from pipeline.model import PipelineError
from pipeline.ui.terminal.printable import Printable


class OutputError(PipelineError):
    """stdout cannot be written, and not because its reader stopped."""


class ConsoleOutput(io.TextIOBase):
    """stdout or stderr; text that cannot be written is lost.

    After a failure (closed pipe, full disk, closed descriptor) the descriptor points to /dev/null,
    so that the interpreter does not fail at its exit either. Then stdout raises OutputError, once,
    unless nobody reads it.
    """

    def __init__(self, *, is_stderr: bool) -> None:
        self._is_stderr = is_stderr
        # read once: rich later replaces sys.stdout with a proxy of this console
        self._stream: TextIO | None = sys.stderr if is_stderr else sys.stdout

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream; UTF-8 if unknown."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """True if the stream is a terminal."""
        stream = self._stream
        return stream is not None and stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream. Raises OSError if it has none."""
        stream = self._stream
        if stream is None:
            raise OSError("this output is closed")
        return stream.fileno()

    def write(self, text: str) -> int:
        """Write `text`; return its length even if it is lost."""
        try:
            if self._stream is not None:
                self._stream.write(text)
        except (OSError, ValueError) as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush the buffer."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: OSError | ValueError) -> None:
        with suppress(OSError, ValueError):
            descriptor = self.fileno()  # first: a stream without one must not leak /dev/null
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
        if isinstance(error, OSError) and error.errno not in _NOBODY_READS and not self._is_stderr:
            raise OutputError(
                f"the output is not whole: stdout cannot be written: {error.strerror}"
            ) from None


_NOBODY_READS = (errno.EPIPE, errno.EBADF)


LEAST_WIDTH, USUAL_WIDTH = 20, 80
"""In characters; a narrower terminal cannot show a table."""


class _Harmless(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [Printable(each) for each in renderables]


def terminal(*, stderr: bool = False, quiet: bool = False, soft_wrap: bool = False) -> Console:
    """A console on stdout or stderr that prints everything as `Printable`."""
    output = ConsoleOutput(is_stderr=stderr)
    console = Console(file=output, quiet=quiet, soft_wrap=soft_wrap, emoji=False, highlight=False)  # type: ignore[arg-type]
    if console.width < LEAST_WIDTH:  # as of a terminal that does not say how wide it is
        console.width = USUAL_WIDTH
    console.push_render_hook(_Harmless())
    return console


def emit(line: str, *, end: str = "\n") -> None:
    """Print a line for a program to stdout, unchanged. Raises OutputError."""
    output = ConsoleOutput(is_stderr=False)
    output.write(f"{line}{end}")
    output.flush()
