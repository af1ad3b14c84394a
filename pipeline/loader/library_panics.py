"""Reports a panic of polars as a fault of the file it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from pipeline.model import Fault, InputError


@contextmanager
def panics_as_input_errors(file: str) -> Iterator[None]:
    """Raise InputError if polars panics. Its panics are not subclasses of `Exception`."""
    try:
        yield
    except pl.exceptions.PanicException:
        raise InputError(
            [
                Fault(
                    what="cannot be read: the Parquet library fails on its content",
                    file=file,
                    todo="Find the rows by halves, with --rows, and write their cells as text",
                )
            ]
        ) from None
