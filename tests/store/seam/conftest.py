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
from pipeline.store.postgres.store import PgStore
from pipeline.store.run_entry import Run
from pipeline.store.seam import Store

START = datetime(2026, 5, 1, 2, 0, 0, 250_000, tzinfo=UTC)


@dataclass(frozen=True)
class StoreMaker:
    """Makes stores of one kind.

    name         in the names of tests
    open         opens the store in a folder; two of one folder stand for two processes
    source       lines of Python that open the store in the folder `sys.argv[1]` as `store`
    frees_s      seconds after which the lease of a process that `source` began is free once it is
                 killed
    in_database  True if the folder holds the URL of an empty database
    """

    name: str
    open: Callable[[Path], Store]
    source: str
    frees_s: float
    in_database: bool = False


FILES = StoreMaker(
    name="files",
    open=lambda folder: FileStore(folder / ".pipeline" / "ledger.db"),
    source="""
import sys
from pathlib import Path
from pipeline.store.on_files import FileStore
from pipeline.store.postgres.store import PgStore
store = FileStore(Path(sys.argv[1]) / ".pipeline" / "ledger.db")
""",
    frees_s=0.0,
)
TTL_S = 2.0
KEPT_S = 300.0  # nothing ends by itself that this process has
POSTGRES = StoreMaker(
    name="postgres",
    open=lambda folder: PgStore((folder / "url").read_text(), environ={}, ttl_s=KEPT_S),
    source=f"""
import sys
from pathlib import Path
from pipeline.store.postgres.store import PgStore
store = PgStore((Path(sys.argv[1]) / "url").read_text(), environ={{}}, ttl_s={TTL_S})
""",
    frees_s=TTL_S,
    in_database=True,
)
MAKERS = [FILES, POSTGRES]


@pytest.fixture(params=MAKERS, ids=lambda maker: str(maker.name))
def maker(request: pytest.FixtureRequest, tmp_path: Path) -> StoreMaker:
    made: StoreMaker = request.param
    if made.in_database:
        (tmp_path / "url").write_text(request.getfixturevalue("database"))
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
