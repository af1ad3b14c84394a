"""Starts, finds and stops runs by their commands."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Any

from pipeline.airflow.command import Installation, LogLine, RecordedRun, log_line, recorded_run

QUERY_TIMEOUT_S = 300.0


class CommandError(Exception):
    """A command failed; the message is what it printed."""


class RunProcess:
    """A run in a session of its own: signals to the task do not reach it, and it may outlive it.

    Its log goes to a file without a name: a task that is killed breaks no pipe.
    """

    def __init__(self, installation: Installation, arguments: Sequence[str]) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see close
        self._read_bytes = 0
        self._rest = b""
        self._process = subprocess.Popen(  # noqa: S603 - the pipeline itself
            installation.command(*arguments),
            cwd=installation.cwd,
            env={**os.environ, **installation.env},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code; None if it has not ended after `timeout_s`."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def new_lines(self) -> Iterator[LogLine]:
        """Complete lines that it wrote since the last call."""
        # not read(): the position in the file is shared with the process that writes
        while data := os.pread(self._log.fileno(), 65536, self._read_bytes):
            self._read_bytes += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from (log_line(line.decode(errors="replace")) for line in lines)

    def close(self) -> None:
        """Read no more of its log. It goes on."""
        self._log.close()

    def stop(self) -> None:
        """Ask it to finish the requests in flight, write its report and end. Does not wait."""
        with suppress(ProcessLookupError):
            self._process.terminate()


def query(installation: Installation, *arguments: str) -> list[dict[str, Any]]:
    """The JSON lines that a command prints. Raises CommandError."""
    try:
        done = subprocess.run(  # noqa: S603 - the pipeline itself
            installation.command(*arguments),
            cwd=installation.cwd,
            env={**os.environ, **installation.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=QUERY_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"`pipeline {arguments[0]}` could not run: {error}") from error
    if done.returncode != 0:
        raise CommandError(f"`pipeline {' '.join(arguments)}`: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def find_run(installation: Installation, run_id: str) -> RecordedRun | None:
    """The run with this id; None if none is on record. Raises CommandError."""
    found = query(installation, "runs", "--run-id", run_id, "--json")
    return recorded_run(found[0]) if found else None


def stop_run(installation: Installation, run_id: str) -> None:
    """Order the run with this id to stop, wherever its process is. Raises CommandError."""
    run = find_run(installation, run_id)
    if run is not None and run.is_under_way:
        query(installation, "runs", run.name, "--stop", "--json")
