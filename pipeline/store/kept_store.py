"""Opens the store that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.model import ConfigError, Fault
from pipeline.store.on_files import FileStore
from pipeline.store.page_checks import PageChecks
from pipeline.store.seam import Store

RUNS = "runs"
NO_LIBRARY = "a ledger in PostgreSQL needs further packages"
INSTALL = "pip install 'offer-pipeline[postgres]'"


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """How a database is reached.

    url           without secrets, see `postgres.address`
    environ       where the URL says nothing
    password      reads the password; None: PGPASSWORD or the password file has it
    max_outage_s  how long to wait for it while it is away; None: as long as the store does
    has_reference  True if the configuration names where the password is
    """

    url: str
    environ: Mapping[str, str] = field(repr=False)
    password: Callable[[], str | None] = field(repr=False, compare=False)
    max_outage_s: float | None = None
    has_reference: bool = False


class KeptStore:
    """The store of a configuration, which is opened when it is first used, and then kept."""

    def __init__(self) -> None:
        self._stores: dict[Path, Store] = {}

    def of(self, ledger: Path, database: DatabaseSettings | None = None) -> Store:
        """The store of this ledger, or in this database, with files of this machine beside it.

        Raises ConfigError if it cannot be opened as configured, RunAborted if the database cannot
        be used.
        """
        if ledger not in self._stores:
            self._stores[ledger] = (
                FileStore(ledger, checks=PageChecks())
                if database is None
                else _in_database(database, ledger.parent / RUNS)
            )
        return self._stores[ledger]

    def close(self) -> None:
        """Close what was opened."""
        while self._stores:
            _, store = self._stores.popitem()
            store.close()


def _in_database(database: DatabaseSettings, scratch: Path) -> Store:
    try:  # only who keeps runs in a database has installed it
        from pipeline.store.postgres.connections import OUTAGE  # noqa: PLC0415
        from pipeline.store.postgres.store import PgStore  # noqa: PLC0415
    except ImportError as error:
        what = f"{NO_LIBRARY}: {error}"
        raise ConfigError([Fault(what=what, todo=INSTALL)]) from None
    most_s = OUTAGE.most_s if database.max_outage_s is None else database.max_outage_s
    return PgStore(
        database.url,
        environ=database.environ,
        password=database.password(),
        scratch=scratch,
        outage=OUTAGE._replace(most_s=most_s),
    )
