"""Panics of libraries written in Rust: not an `Exception`, but still the fault of one file."""

from __future__ import annotations

_MODULE = "pyo3_runtime"


def is_panic(error: BaseException) -> bool:
    """True if an error is a panic, or a group of panics and ordinary errors.

    >>> is_panic(KeyboardInterrupt()), is_panic(ValueError())
    (False, False)
    """
    if isinstance(error, BaseExceptionGroup):
        leaves = error.exceptions
        return any(map(is_panic, leaves)) and all(
            isinstance(each, Exception) or is_panic(each) for each in leaves
        )
    return type(error).__module__ == _MODULE
