"""The stores that whole runs are tested on, and machines that share one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from pipeline.config import Config
from pipeline.store.kept_store import KeptStore

STORES = ["files", "postgres"]
_URL = "database-url"
_numbers = count(1)


def keep_in(store: str, folder: Path, new_database: Callable[[], str]) -> None:
    """Choose where runs of a working folder are kept."""
    if store == "postgres":
        (folder / _URL).write_text(new_database())


def ledger_line(folder: Path) -> str:
    """The line of the configuration that says where they are kept; empty: in files."""
    path = folder / _URL
    return f'ledger = "{path.read_text()}"\n' if path.exists() else ""


@contextmanager
def elsewhere(config: Config) -> Iterator[Config]:
    """The configuration on another machine, with a folder of its own; as it is on files.

    Reports are in the same folder, so that a test finds them.
    """
    if config.database is None:
        yield config
        return
    folder = config.folder / f"machine-{next(_numbers)}"
    with closing(KeptStore()) as kept_store:
        yield replace(config, ledger=folder / "ledger.db", kept_store=kept_store)
