"""Decodes a Parquet file in a process of its own first, because the library may crash.

    python -m pipeline.loader.decode_check DESCRIPTOR NAME PACKED_BYTES

A page may state a size larger than any memory, and a table may need more memory than is left. Then
the decoding process ends instead of raising an error. Faults of the file are written as JSON to the
standard output. Messages of the library are never shown.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial

from pipeline.loader.parquet_file import AGAIN, check_stated_sizes, descriptor_path, footer_of
from pipeline.loader.parquet_reader import ParquetReader
from pipeline.loader.source import check_expansion
from pipeline.model import Fault, InputError, RunAborted

_REFUSED = 3
_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
"""Signals that a process causes itself."""
_SHOWN_CHARS = 300


def check_decodes(descriptor: int, file: str, packed_bytes: int) -> None:
    """Decode the whole file in another process.

    descriptor    open on the file that polars decodes
    file          its name, for messages
    packed_bytes  size of the file
    raises        InputError if the file cannot be decoded or crashes the process; RunAborted if
                  something else ends the process, such as Ctrl-C
    """
    command = [sys.executable, "-m", __name__, str(descriptor), file, str(packed_bytes)]
    done = subprocess.run(  # noqa: S603 - our own module
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        pass_fds=(descriptor,),
        check=False,
    )
    if done.returncode == _REFUSED:
        raise InputError(Fault(**fault) for fault in json.loads(done.stdout))
    if done.returncode:
        raise _ended(done.returncode, file, done.stderr.decode(errors="replace"))


def _ended(code: int, file: str, stderr: str) -> InputError | RunAborted:
    """The error for a decoding process that ended with this exit code.

    >>> print(_ended(-9, "a.parquet", ""))
    a.parquet: decoding it was killed (SIGKILL), as happens when memory runs out. Write it \
with fewer rows in a row group, or give this machine more memory
    """
    if code > 0:
        last = stderr.strip().rpartition("\n")[2][:_SHOWN_CHARS]
        return RunAborted(f"{file} was not read: the process that decodes it failed ({last})")
    how = signal.Signals(-code).name
    if -code == signal.SIGKILL:
        what = f"decoding it was killed ({how}), as happens when memory runs out"
        todo = "Write it with fewer rows in a row group, or give this machine more memory"
    elif -code in _CRASHES:
        what, todo = f"is broken: decoding it crashes ({how})", AGAIN
    else:
        return RunAborted(f"{file} was not read: {how} ended it. Nothing was sent")
    return InputError(Fault(what=what, file=file, todo=todo))


def main(descriptor: int, file: str, packed_bytes: int) -> int:
    """Decode the whole file; return the exit code."""
    try:
        _decode(descriptor, file, packed_bytes)
    except InputError as error:
        json.dump([asdict(fault) for fault in error.faults], sys.stdout)
        return _REFUSED
    return 0


def _decode(descriptor: int, file: str, packed_bytes: int) -> None:
    footer = footer_of(descriptor, file)
    reader = ParquetReader(
        descriptor_path(descriptor),
        footer,
        file=file,
        check_expansion=partial(check_expansion, file, packed_bytes, kind="Parquet"),
    )
    check_stated_sizes(descriptor, footer, reader.read_columns, file)
    try:
        for _ in reader.frames():
            pass
    except InputError as error:
        if error.faults[0].column is None and (broken := reader.broken_columns()):
            what = "cannot be decoded: it is damaged, or in an unknown format"
            raise InputError(
                Fault(what=what, file=file, column=name, todo=AGAIN) for name in broken
            ) from None
        raise


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    sys.exit(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
