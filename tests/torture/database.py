"""A store in a database under torture: its server may be killed, too."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar

import psycopg

from pipeline.model import RunAborted
from pipeline.store import Ledger, Run
from pipeline.store.postgres.store import PgStore
from tests.postgres import PostgresServer

T = TypeVar("T")

LEASE_S = 3.0
"""How long a lease lasts here: each life after a kill waits for its end."""

DOWN_S = 0.2
BACK_S = 60.0
"""Within which a server that crashed is back, on a busy machine."""
SETTINGS = {"track_commit_timestamp": "on"}
"""Of the server: the moment of each commit is judged."""


class TorturedDatabase:
    """A database in a server that may crash at any time.

    crashes  how often its server was killed
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.new_database()
        self.crashes = 0

    def runs(self) -> list[Run]:
        """All runs on record, newest first; none before there are tables."""
        if self._rows("select to_regclass('pipeline.runs')")[0][0] is None:
            return []
        return self._once_it_is_up(self._runs)

    def _runs(self) -> list[Run]:
        with PgStore(self.url, environ={}) as store:
            return store.runs.all()

    @contextmanager
    def ledger(self, run: str) -> Iterator[Ledger]:
        """The record of a run, to read."""
        with PgStore(self.url, environ={}) as store, store.ledger(run, None, None) as ledger:
            yield ledger

    def committed(self) -> list[tuple[int, float]]:
        """Row, and the UTC seconds of the commit that recorded its result."""
        query = (
            "select row, extract(epoch from pg_xact_commit_timestamp(xmin))::float8"
            " from pipeline.results"
        )
        return self._rows(query)

    def _rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        def look() -> list[tuple[Any, ...]]:
            with psycopg.connect(self.url) as connection:
                return connection.execute(query).fetchall()

        return self._once_it_is_up(look)

    def _once_it_is_up(self, look: Callable[[], T]) -> T:
        """What `look` finds, which may meet a server that crashed."""
        end_s = time.monotonic() + BACK_S
        while True:
            try:
                return look()
            except (psycopg.OperationalError, RunAborted):
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.05)

    @contextmanager
    def crashing(self, after_s: float) -> Iterator[None]:
        """Kill the server so long after the block begins, unless it ends before; start it again."""
        is_over = threading.Event()

        def crash() -> None:
            if not is_over.wait(after_s):
                self._server.stop(signal.SIGKILL)
                self.crashes += 1
                time.sleep(DOWN_S)
                self._server.start()

        thread = threading.Thread(target=crash)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
