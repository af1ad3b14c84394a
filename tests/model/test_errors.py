"""Errors as text: bounded, whatever is wrong with whatever is how long."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.model import Fault, InputError
from pipeline.model.errors import SHOWN_FAULTS, shorten


def test_a_million_faults_are_counted_and_not_kept() -> None:
    error = InputError(Fault(what="odd", row=row) for row in range(1_000_000))
    assert len(error.faults) == SHOWN_FAULTS
    assert str(error).splitlines()[0] == "row 0: odd"
    assert str(error).endswith(f"... and {1_000_000 - SHOWN_FAULTS} more")
    assert str(error.without_values()).endswith("more")


def test_long_faults_are_not_all_shown() -> None:
    long = "x" * 1_000_000
    every = Fault(what=long, file="a.csv", column=long, value=long, expected=long, todo=long)
    assert len(str(every)) < 6_000
    error = InputError([every] * 50)
    assert len(str(error)) < 20_000
    assert str(error).endswith("more")


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (lambda: "x" * 100_000_000, "'xxxxxxxxxxxxx..."),
        (lambda: b"x" * 100_000_000, "b'xxxxxxxxxxxx..."),
        (lambda: [1] * 10_000_000, "[1, 1, 1, 1, 1..."),
        (lambda: {"a": ["x" * 10_000_000]}, "{'a': ['xxxxxx..."),
        (lambda: [[[["x" * 10_000_000]] * 1_000_000]], "[[[['xxxxxxxxx..."),
        (lambda: {"a": 1, "b": [None, 1.5]}, "{'a': 1, 'b': [None, 1.5]}"),
        (lambda: list(range(5)), "[0, 1, 2, 3, 4]"),
    ],
    ids=["text", "bytes", "a list", "nested text", "nested lists", "a short struct", "short"],
)
def test_a_value_of_any_size_is_shown_short(made: Callable[[], Any], shown: str) -> None:
    assert shorten(made(), most=17 if shown.endswith("...") else 60) == shown
