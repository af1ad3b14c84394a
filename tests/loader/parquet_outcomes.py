"""The result of each Parquet file of `parquet_files`: sent, its row invalid, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.jobs import read_jobs
from pipeline.model import Fault, InputError
from pipeline.run import discard, prepare
from pipeline.runs import RunOptions
from tests.loader.parquet_files import FILES, Written
from tests.workplace import configure

SETTINGS = '\n[input."xsolla.coupon"]\nignore = ["etl_*"]\ntimezone = "Europe/Berlin"\n'


def outcomes() -> Iterator[tuple[str, str, str]]:
    """Writer, column and result of each file, in their order."""
    for written in FILES:
        with TemporaryDirectory() as folder:
            yield written.writer, written.column, outcome(written, Path(folder))


def outcome(written: Written, folder: Path) -> str:
    """The result of one file, which is written to `folder`, in Markdown."""
    config = configure(folder, "http://127.0.0.1:9", more=SETTINGS)
    path = folder / "a.parquet"
    written.write(path)
    try:
        prepared = prepare(path, config, RunOptions(operation="xsolla.coupon"))
    except InputError as error:
        (fault,) = error.faults
        return f"refused: {_said(fault)}"
    try:
        for kind in prepared.bound.faults:
            return f"row invalid: {_said(kind.examples[0])}"
        (job,) = chain.from_iterable(read_jobs(prepared.bound.jobs["shop"].path))
        return f"sent as `{json.dumps(json.loads(job.text)[written.field])}`"
    finally:
        discard(prepared)


def _said(fault: Fault) -> str:
    assert "polars" not in str(fault).lower()
    return fault.what
