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

from pipeline.model import DamagedError, Fault, InputError, PipelineError, RunAborted
from pipeline.tables import read_frames, read_metadata

_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
"""What ends a process for its own doing."""

_WHAT_DECODING_RAISES = (
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
    *(OSError, DamagedError),
)


def check_decodes(path: Path) -> None:
    """Raise InputError where decoding the file ends the process that does it, or takes all memory;
    RunAborted where something else ends it.

    Ctrl-C is for this process: the other one is in a session of its own.
    """
    command = [sys.executable, "-m", __name__, str(path.absolute())]
    done = subprocess.run(  # noqa: S603 - ourselves
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    if (error := error_of(done.returncode, path)) is not None:
        raise error


def error_of(code: int, path: Path) -> PipelineError | None:
    """What the return code of the process says of the file; None where it is fit to be read.

    >>> error_of(0, Path("a.parquet"))
    >>> str(error_of(-signal.SIGSEGV, Path("a.parquet")))
    'a.parquet: is broken: decoding it ends the process. Write or copy the file again'
    """
    if code >= 0:
        return None
    if -code == signal.SIGKILL:
        what = "was not read: the process that decodes it was killed, as for want of memory"
        todo = "Write it with smaller row groups, or allow more memory"
    elif -code in _CRASHES:
        what, todo = "is broken: decoding it ends the process", "Write or copy the file again"
    else:
        return RunAborted(f"{path} was not read: {signal.Signals(-code).name} ended it")
    return InputError([Fault(what=what, file=str(path), todo=todo)])


def main(path: Path) -> None:
    """Decode all of it."""
    with suppress(*_WHAT_DECODING_RAISES):
        read_metadata(path)
        for _ in read_frames(path):
            pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
