"""The stores that the suite tests: each test runs on all of them.

An implementation adds its maker to MAKERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.model import RowResult, Status
from pipeline.store.on_files import FileStore
from pipeline.store.run_entry import Run
from pipeline.store.seam import Store

START = datetime(2026, 5, 1, 2, 0, 0, 250_000, tzinfo=UTC)


@dataclass(frozen=True)
class StoreMaker:
    """Makes stores of one kind.

    name     in the names of tests
    open     opens the store in a folder; two of one folder stand for two processes
    source   lines of Python that open the store in the folder `sys.argv[1]` as `store`
    frees_s  seconds after which the lease of a killed process is free
    """

    name: str
    open: Callable[[Path], Store]
    source: str
    frees_s: float


FILES = StoreMaker(
    name="files",
    open=lambda folder: FileStore(folder / ".pipeline" / "ledger.db"),
    source="""
import sys
from pathlib import Path
from pipeline.store.on_files import FileStore
store = FileStore(Path(sys.argv[1]) / ".pipeline" / "ledger.db")
""",
    frees_s=0.0,
)
MAKERS = [FILES]


@pytest.fixture(params=MAKERS, ids=lambda maker: str(maker.name))
def maker(request: pytest.FixtureRequest) -> StoreMaker:
    made: StoreMaker = request.param
    return made


@pytest.fixture
def store(maker: StoreMaker, tmp_path: Path) -> Iterator[Store]:
    with closing(maker.open(tmp_path)) as each:
        yield each


@pytest.fixture
def other(maker: StoreMaker, tmp_path: Path) -> Iterator[Store]:
    """The same store in another process, as it were."""
    with closing(maker.open(tmp_path)) as each:
        yield each


def run(name: str, **fields: Any) -> Run:
    return Run(
        **{"name": name, "source": "a.csv", "sha256": "ab", "rows": 3, "started": START} | fields
    )


def result(row: int, status: Status = Status.UPDATED, **fields: Any) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", status, **fields)


def began(store: Store, name: str = "monday") -> Run:
    """A run on record, with a folder and an empty record."""
    store.files(name).make_folder()
    store.new_ledger(name).__enter__().close()
    return store.runs.add(run(name))
