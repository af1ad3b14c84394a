"""Reports a panic of polars as a fault of the file it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.model import Fault, InputError
from pipeline.model.panics import is_panic


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
