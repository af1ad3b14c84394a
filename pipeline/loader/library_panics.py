"""A panic of the library that reads a file is that file's fault, told in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from pipeline.model import Fault, InputError


@contextmanager
def panics_as_input_errors(file: str) -> Iterator[None]:
    """Raise InputError where polars panics, which raises no `Exception`."""
    try:
        yield
    except pl.exceptions.PanicException:
        raise InputError(
            [
                Fault(
                    what="cannot be read: it holds something that the library for tables fails at",
                    file=file,
                    todo="Find the rows by halves, with --rows, and write their cells as text",
                )
            ]
        ) from None
