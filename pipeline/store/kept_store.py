"""Opens the store that a configuration names."""

from __future__ import annotations

from pathlib import Path

from pipeline.store.on_files import FileStore
from pipeline.store.page_checks import PageChecks
from pipeline.store.seam import Store


class KeptStore:
    """The store of a configuration, which is opened when it is first used, and then kept."""

    def __init__(self) -> None:
        self._stores: dict[Path, Store] = {}

    def of(self, ledger: Path) -> Store:
        """The store of this ledger."""
        if ledger not in self._stores:
            self._stores[ledger] = FileStore(ledger, checks=PageChecks())
        return self._stores[ledger]

    def close(self) -> None:
        """Close what was opened."""
        while self._stores:
            _, store = self._stores.popitem()
            store.close()
