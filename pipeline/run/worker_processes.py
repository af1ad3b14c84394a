"""Starts the workers of a run: here as processes of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pipeline.config import Config
from pipeline.model import NoWorkerError

LINE_BYTES = 65_536
CONTENT_FLAG = "--config-on-stdin"
"""Gives a worker the content of the configuration as its starter read it, not as it is by now."""


class Workers(Protocol):
    """The workers that a run starts, wherever they run. Their numbers are from 1.

    They need nothing from the process that starts them, and go on if it dies. Calls MUST NOT
    overlap, and do not wait.
    """

    def start(self, number: int) -> None:
        """Start a worker; again, if it has ended. Raises NoWorkerError if it cannot be started."""

    def ended(self) -> dict[int, int]:
        """Those that ended since the last call -> exit code, negative if a signal killed it."""

    def alive(self) -> int:
        """How many live."""

    def stop(self, *, at_once: bool) -> None:
        """End all: after their requests in flight, or at once."""


StartWorkers = Callable[[str], Workers]
"""Makes the workers of the run of this name; none is started yet."""


@dataclass(slots=True)
class WorkerProcesses:
    """Workers as processes of this machine, which outlive this one.

    run     name of the run
    tell    called with each line that a worker writes
    config  of this process: theirs must be the same, and its file may have changed since
    until   when they take no further row; None: no end
    """

    run: str
    tell: Callable[[str], None]
    config: Config
    until: datetime | None = None
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The command of each worker."""
        file = [] if self.config.file is None else ["--config", str(self.config.file)]
        content = [] if self.config.content is None else [CONTENT_FLAG]
        until = [] if self.until is None else ["--until", self.until.isoformat()]
        return [sys.executable, "-m", "pipeline", *file, "worker", self.run, *until, *content]

    def start(self, number: int) -> None:
        """Start it in a session of its own: a signal to the terminal reaches this process alone."""
        try:
            # a file, not a pipe: a process that does not read cannot hold up this one
            with tempfile.TemporaryFile() as content:
                content.write(self.config.content or b"")
                content.seek(0)
                process = subprocess.Popen(  # noqa: S603 - our own command
                    self.command,
                    stdin=content,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
        except OSError as error:
            raise NoWorkerError(f"cannot be started: {error}") from error
        self._running[number] = process
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        _Lines(os.dup(process.stderr.fileno()), self.tell).follow()
        process.stderr.close()

    def ended(self) -> dict[int, int]:
        """Polled."""
        codes = {number: each.poll() for number, each in self._running.items()}
        found = {number: code for number, code in codes.items() if code is not None}
        for number in found:
            self._running.pop(number)
        return found

    def alive(self) -> int:
        """Those that have not been found ended."""
        return len(self._running)

    def stop(self, *, at_once: bool) -> None:
        """By signals."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)


class _Lines:
    """Reads the lines of a worker in the event loop."""

    def __init__(self, descriptor: int, tell: Callable[[str], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._tell = tell
        self._rest = b""
        self._loop = asyncio.get_running_loop()

    def follow(self) -> None:
        self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            found = os.read(self._descriptor, LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            found = b""
        *lines, self._rest = (self._rest + found).split(b"\n")
        if not found:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            if line.strip():
                self._tell(line.decode(errors="replace"))
