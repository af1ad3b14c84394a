"""Parquet is decoded in a process of its own first: the library that does it may die of a file.

    python -m pipeline.load.proof FILE

A page may state a size that no machine has; then polars ends its process instead of raising. What
is merely broken ends the proof quietly, and is told in words by whoever reads the file next.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import polars as pl

from pipeline.model import DamagedError, Fault, InputError, RunAborted
from pipeline.tables import read_frames, read_metadata

_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
"""What ends a process for its own doing."""

_WHAT_DECODING_RAISES = (
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
    *(OSError, DamagedError),
)


def check_decodes(path: Path) -> None:
    """Raise InputError where decoding the file ends the process that does it, RunAborted where
    something else does, such as Ctrl-C.
    """
    command = [sys.executable, "-m", __name__, str(path.absolute())]
    done = subprocess.run(  # noqa: S603 - ourselves
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode >= 0:
        return
    if -done.returncode == signal.SIGKILL:
        raise InputError(
            [
                Fault(
                    what="was not read: the process that decodes it was killed, as the system does "
                    "where memory runs out",
                    file=str(path),
                    todo="Write it with smaller row groups, or give the process more memory",
                )
            ]
        )
    if -done.returncode not in _CRASHES:
        how = signal.Signals(-done.returncode).name
        raise RunAborted(f"{path} was not read: {how} ended it. Nothing was sent")
    raise InputError(
        [
            Fault(
                what="is broken: decoding it ends the process",
                file=str(path),
                todo="Write or copy the file again",
            )
        ]
    )


def main(path: Path) -> None:
    """Decode all of it."""
    with suppress(*_WHAT_DECODING_RAISES):
        read_metadata(path)
        for _ in read_frames(path):
            pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
