"""Orders for running runs, on files."""

from __future__ import annotations

import json
from types import MappingProxyType

from pipeline.model.quota import parse_quota
from pipeline.store.database import damaged, sum_of
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.store.seam import Order

_GIVE = "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?)"
_GIVEN = "SELECT run, is_stop, quotas, checksum FROM orders WHERE run = ?"


class FileOrders:
    """Orders in a file."""

    def __init__(self, file: RegistryFile) -> None:
        self._file = file

    def give(self, run: str, order: Order) -> None:
        """Replace the order of a run."""
        quotas = {account: str(quota) for account, quota in order.quotas.items()}
        line = run, order.is_stop, json.dumps(quotas)
        with self._file.commit() as connection:
            connection.execute(_GIVE, (*line, sum_of(line)))

    def given(self, run: str) -> Order:
        """The order of a run; an empty one if there is none."""
        for *line, checksum in self._file.rows(_GIVEN, (run,)):
            if checksum != sum_of(line):
                raise damaged(self._file.path, f"the order of run {run} is not what was written")
            _run, is_stop, texts = line
            quotas = {name: parse_quota(text) for name, text in json.loads(texts).items()}
            return Order(bool(is_stop), MappingProxyType(quotas))
        return Order()

    def clear(self, run: str) -> None:
        """Forget the order of a run."""
        if self._file.rows(_GIVEN, (run,)):
            with self._file.commit() as connection:
                connection.execute("DELETE FROM orders WHERE run = ?", (run,))
