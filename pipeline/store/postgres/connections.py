"""Connections to the database: opened when needed, again after a loss, and how errors read."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple, TypeVar

import psycopg
from psycopg.abc import PQGen

from pipeline.model import RunAborted
from pipeline.store.contract import LedgerError
from pipeline.store.postgres.address import DatabaseAddress

T = TypeVar("T")
PgRow = tuple[Any, ...]

_CONNECT_S = 5
_LAST_CONNECT_S = 2  # the least that psycopg waits
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_AWAY = (  # start of a code: the database cannot do it now, and may be able to later
    *("08", "40", "53", "57", "58"),
    "25006",  # read-only: it was replaced, and this one is not the first any more
    "25P03",  # the transaction did nothing for too long
    "55P03",  # locked
)
_BEGIN = """
select set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '20s', true),
    set_config('idle_in_transaction_session_timeout', '10s', true)
"""
_WORDS = (  # start of a code, what to do
    ("53100", "Make room on its disk"),
    ("53300", "Allow more connections, or use a pooler in front of it"),
    ("25006", "Let the URL name the server that takes writes"),
    ("42501", "Grant this user the schema `pipeline`"),
)


class Outage(NamedTuple):
    """How long to wait for a database that is away.

    answer_s  longest time for one answer; later the connection counts as lost
    most_s    longest time for a call, its repetitions included
    """

    answer_s: float = 60.0
    most_s: float = 900.0


OUTAGE = Outage()


def slept_s() -> float:
    """Seconds since boot in which this machine slept, which its monotonic clock does not count."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits: the monotonic clock and the time that it missed, sleep, and chance in [0, 1)."""

    clock: Callable[[], float] = time.monotonic
    slept: Callable[[], float] = slept_s
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


WAITING = Waiting()


class PgConnection(psycopg.Connection[PgRow]):
    """A connection that waits for an answer for a limited time only.

    is_given_up  asked while it waits: True if no answer will come
    """

    answer_s: float = OUTAGE.answer_s
    is_given_up: Callable[[], bool] = staticmethod(lambda: False)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Raise OperationalError if there is no answer in time, as with a lost connection.

        It is closed then: who rolls back would wait as long again, behind what was asked before.
        """
        timeout = self.answer_s if timeout is None else timeout
        try:
            return super().wait(_unless(self.is_given_up, gen), interval, timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:
                self.close()
            raise


class PgConnections:
    """Connections to one database, for all threads of a process.

    password   None: libpq finds it, if it needs one
    silence_s  longest time for which a peer may be silent before its connection is lost; below
               that of a lease, or a process would not notice in time

    A step that failed because the database is away is repeated, with growing pauses, until
    `outage.most_s` have passed; then RunAborted. So a step MUST be one that may be repeated. Once
    no step has succeeded for that long, those that wait for an answer end, and a step is tried
    once, and not for long: a command has many, and ends.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        outage: Outage,
        silence_s: float,
        waiting: Waiting,
        password: str | None = None,
    ) -> None:
        self.address = address
        self._password = password
        self.waiting = waiting
        self._outage = outage
        self._silence_s = silence_s
        self._turn = threading.Lock()
        self._idle: list[PgConnection] = []
        self._is_closed = False
        self._away_since_s: float | None = None
        self._answered_s = 0.0

    def do(
        self,
        step: Callable[[PgConnection], T],
        *,
        most_s: float | None = None,
        answer_s: float | None = None,
    ) -> T:
        """Run `step` on a connection.

        most_s    instead of that of the outage; as `answer_s`

        Raises RunAborted if the database cannot be used, LedgerError if it is damaged.
        """
        most_s = self._outage.most_s if most_s is None else most_s
        pauses, began_s = _pauses(), self.waiting.clock()
        while True:
            try:
                with self._borrowed(answer_s) as connection:
                    done = step(connection)
            except psycopg.Error as error:
                if not is_away(error):
                    raise self.failure(error) from error
                pause_s = next(pauses) * (0.5 + self.waiting.chance())
                if self._is_too_long(pause_s, began_s, most_s):
                    raise self.failure(error) from error
                self.waiting.sleep(pause_s)
            else:
                self._away_since_s = None
                return done

    def _is_too_long(self, pause_s: float, began_s: float, most_s: float) -> bool:
        """True if a step that began then is not repeated after another pause."""
        if self._away_since_s is None:
            self._away_since_s = self.waiting.clock()
        again_s = self.waiting.clock() + pause_s
        return self._is_given_up(again_s) or again_s - began_s > most_s or self._is_closed

    def _is_given_up(self, at_s: float | None = None) -> bool:
        """True if at that time, or now, no step will have succeeded for as long as is waited."""
        at_s = self.waiting.clock() if at_s is None else at_s
        return self._away_since_s is not None and at_s - self._away_since_s > self._outage.most_s

    def rows(
        self, query: LiteralString, values: Sequence[object] | Mapping[str, object] = ()
    ) -> list[PgRow]:
        """All rows of a query that changes nothing."""
        return self.do(lambda connection: connection.execute(query, values).fetchall())

    def call(self, function: LiteralString, values: Sequence[object]) -> Any:
        """The value of a function of the schema `pipeline`, which may change something."""
        query: LiteralString = f"select {function}"
        return self.rows(query, values)[0][0]

    def change(
        self, query: LiteralString, values: Sequence[object] | Mapping[str, object] = ()
    ) -> list[PgRow]:
        """Execute a statement so that its effect lasts, and return its rows, if it has any."""

        def step(connection: PgConnection) -> list[PgRow]:
            with durable(connection):
                done = connection.execute(query, values)
                return done.fetchall() if done.description else []

        return self.do(step)

    def failure(self, error: psycopg.Error) -> Exception:
        """The error to raise for one of the database; itself, if it is one of our own code."""
        code = error.sqlstate or ""
        if code.startswith("XX"):
            return damaged(self.address, _first_line(error))
        if not (is_away(error) or code.startswith(("28", "3D", "42501", "42P01", "42883", "3F"))):
            return error
        todo = next((what for start, what in _WORDS if code.startswith(start)), None)
        return RunAborted(
            f"the database {self.address.label} cannot be used: {_first_line(error)}. "
            f"{todo or 'Check that it runs and that its URL is right'}"
        )

    @contextmanager
    def _borrowed(self, answer_s: float | None) -> Iterator[PgConnection]:
        with self._turn:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._open()
        connection.answer_s = self._outage.answer_s if answer_s is None else answer_s
        try:
            yield connection
        except psycopg.OperationalError as error:
            _close(connection)
            if error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "25P")):
                self._close_idle()  # lost together: else each costs a repetition
            raise
        except BaseException:
            _close(connection)  # whatever it is in the middle of
            raise
        with self._turn:
            if not self._is_closed:
                self._idle.append(connection)
                return
        _close(connection)

    def _open(self) -> PgConnection:
        if self._is_closed:
            raise RunAborted("the store is closed")
        connection = self._connected()
        self._answered_s = self.waiting.clock()
        connection.is_given_up = self._is_silent
        return connection

    def _is_silent(self) -> bool:
        """True if it is given up, and has not even accepted a connection for as long."""
        silent_s = self.waiting.clock() - self._answered_s
        return self._is_given_up() and silent_s > self._outage.most_s

    def _connected(self) -> PgConnection:
        silence_s = max(3, int(self._silence_s))
        return PgConnection.connect(
            self.address.url,
            autocommit=True,
            password=self._password,
            prepare_threshold=None,  # a pooler may give each transaction another connection
            sslmode=self.address.sslmode,
            client_encoding="utf8",
            application_name="pipeline",
            connect_timeout=_LAST_CONNECT_S if self._is_given_up() else _CONNECT_S,
            tcp_user_timeout=silence_s * 1000,
            keepalives_idle=max(1, silence_s // 3),
            keepalives_interval=max(1, silence_s // 3),
            keepalives_count=2,
        )

    def _close_idle(self) -> None:
        with self._turn:
            idle, self._idle = self._idle, []
        for connection in idle:
            _close(connection)

    def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        self._close_idle()


@contextmanager
def durable(connection: PgConnection) -> Iterator[None]:
    """A transaction whose effect survives loss of power, whatever the database has set.

    The database ends it if it hears nothing for a while: a process that vanished in the middle
    would hold its locks for hours.
    """
    with connection.transaction():
        connection.execute(_BEGIN)
        yield


def _unless(is_over: Callable[[], bool], gen: PQGen[T]) -> PQGen[T]:
    """`gen`, ended with an error if it `is_over` while nothing comes."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and is_over():
                raise psycopg.OperationalError("it has not answered for too long")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return] # that of a generator


def is_away(error: psycopg.Error) -> bool:
    """True if the database cannot do it now and the connection or the server is at fault."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_AWAY)


def damaged(address: DatabaseAddress, what: str) -> LedgerError:
    """The error for something in the database that changed after it was written."""
    return LedgerError(
        f"the database {address.label} is damaged: {what}. Its disk or another program changed it, "
        "or an older copy was put in its place"
    )


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _pauses() -> Generator[float]:
    """None at first, since a connection that was idle may just have been closed; then growing."""
    yield 0.0
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _close(connection: PgConnection) -> None:
    with suppress(psycopg.Error):
        connection.close()
