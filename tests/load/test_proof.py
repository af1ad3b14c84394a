from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pipeline.load.proof import error_of
from pipeline.model import InputError, RunAborted


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (0, None, ""),
        (1, None, ""),  # who reads it next says in words what is wrong with it
        (-signal.SIGABRT, InputError, "decoding it ends the process"),
        (-signal.SIGSEGV, InputError, "decoding it ends the process"),
        (-signal.SIGKILL, InputError, "for want of memory"),  # the fault of one file
        (-signal.SIGTERM, RunAborted, "SIGTERM ended it"),  # somebody wanted that
    ],
)
def test_what_the_end_of_the_decoder_says_of_a_file(code, kind, told):
    error = error_of(code, Path("a.parquet"))
    assert (error is None) if kind is None else isinstance(error, kind)
    assert told in str(error or "")
