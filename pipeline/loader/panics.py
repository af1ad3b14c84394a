"""Reports a panic of polars as a fault of the file it reads, in our words only."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.model import Fault, InputError
from pipeline.model.panics import is_panic

_STDERR = 2
_PRINTED = re.compile(
    rb"\n?thread '.*panicked at .*\n.*\n(?:(?:[ \t]|note: |stack backtrace:).*\n)*"
)
_turn = threading.Lock()


@contextmanager
def panics_unprinted() -> Iterator[None]:
    """Keep what a panic in the block prints off the standard error.

    Rust writes to the descriptor, so it is another file meanwhile; what else comes there is
    written afterwards. For blocks that take a second at most, one at a time.
    """
    with _turn, tempfile.TemporaryFile() as held:
        try:
            stderr = os.dup(_STDERR)
        except OSError:  # there is none
            yield
            return
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(stderr, _STDERR)
            held.seek(0)
            with os.fdopen(stderr, "wb") as file:
                file.write(_PRINTED.sub(b"", held.read()))


@contextmanager
def panics_as_input_errors(file: str) -> Iterator[None]:
    """Raise InputError if polars panics; any other error passes."""
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        raise InputError(
            Fault(
                what="cannot be read: the Parquet library fails on its content",
                file=file,
                todo="Find the rows by halves, with --rows, and write their cells as text",
            )
        ) from None
