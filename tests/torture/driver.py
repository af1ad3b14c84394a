"""The command, with a place in it at which it dies.

Each line of JSON on stdin is the orders of one life, which is forked off: its process id and its
exit code are written to stdout. What is wrapped here is wrapped from outside: the command knows
nothing of it. The workers that it starts are wrapped in the same way, and each dies where the next
of `worker_deaths` says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pipeline
from pipeline.cli import main
from pipeline.http_client.wire import OnReply, Wire
from pipeline.model import NoReply, Reply, Request, RowResult
from pipeline.model.exchange import Exchange
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run import RunEnvironment
from pipeline.run.links import over_http
from pipeline.run.worker_processes import WorkerProcesses
from pipeline.store import RunLedger
from pipeline.store.database import Database
from pipeline.store.on_files.registry import FileRegistry
from pipeline.store.postgres.connections import PgConnections
from pipeline.store.postgres.ledger import PgLedger
from pipeline.store.postgres.registry import PgRegistry
from pipeline.store.postgres.store import PgStore
from pipeline.vendors import Account
from tests.torture.rows import WRITES
from tests.workplace import quick_vendors

ROOT = Path(__file__).parents[2]
ORDERS = "TORTURED_WORKER"
"""Variable with the orders of the life that started a worker."""
RANDOM = "random"
SETTLE_AFTER_S = 0.5
JITTER = 0.05  # a draw: waits before another attempt are short

POINTS = MappingProxyType(
    {
        "taking": "a little after the file was opened",
        "bound": "between the last bound row and the first claim",
        "claimed": "after a claim, before its request leaves",
        "sent": "a little after a request left",
        "replied": "after a reply, before its result is recorded",
        "recording": "within a commit",
        "recorded": "after a commit, before anybody was told",
        "reporting": "within the report",
        "renaming": "after one of the report's renames",
        "noting": "around a change of the run's state",
    }
)


@dataclass(frozen=True, slots=True)
class LiveOverrides:
    """What a driver does.

    point    one of POINTS, or anything else: never reached
    nth      time that the point is reached
    delay_s  from then on
    checkpoint_pages  after how many the log is written back; None: as the ledger has it
    environ  variables that are set
    lease_s  how long a lease in a database lasts; None: as long as the store has it
    told     file that takes a line of JSON once claims, results or releases are on record
    said     file that takes the output
    worker_deaths  where, at the how manieth time and how much later its first workers die
    deaths   file that takes a line for each worker that dies; None: it starts none
    """

    folder: str
    arguments: list[str]
    point: str = ""
    nth: int = 1
    delay_s: float = 0.0
    checkpoint_pages: int | None = None
    environ: dict[str, str] = field(default_factory=dict)
    lease_s: float | None = None
    told: str | None = None
    said: str = os.devnull
    worker_deaths: list[tuple[str, int, float]] = field(default_factory=list)
    deaths: str | None = None


class Death:
    """Comes when the point of the orders is reached for the n-th time; at `RANDOM`, `delay_s` from
    now.
    """

    def __init__(self, orders: LiveOverrides) -> None:
        self._orders = orders
        self._left = orders.nth
        if orders.point == RANDOM:
            threading.Thread(target=self._die_later, daemon=True).start()

    def at(self, point: str) -> None:
        """`point` is reached."""
        if point != self._orders.point:
            return
        self._left -= 1
        if self._left == 0:
            if not self._orders.delay_s:
                self._die()
            threading.Thread(target=self._die_later, daemon=True).start()

    def _die_later(self) -> None:
        time.sleep(self._orders.delay_s)
        self._die()

    def _die(self) -> None:
        """By `kill -9`. Nobody waits for the death of a worker: it is written down."""
        if self._orders.deaths is not None:
            file = os.open(self._orders.deaths, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(file, f"{self._orders.point}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str, point: str) -> None:
        """`owner.name` reaches the point before and after it does its work."""
        inner = getattr(owner, name)

        @wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            self.at(point)
            found = inner(*args, **kwargs)
            self.at(point)
            return found

        setattr(owner, name, outer)

    def before(self, owner: Any, name: str, point: str) -> None:
        """`owner.name` reaches the point before it does its work."""
        inner = getattr(owner, name)

        @wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            self.at(point)
            return inner(*args, **kwargs)

        setattr(owner, name, outer)

    def after(self, owner: Any, name: str, point: str) -> None:
        """`owner.name` reaches the point when it has done its work."""
        inner = getattr(owner, name)

        @wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            found = inner(*args, **kwargs)
            self.at(point)
            return found

        setattr(owner, name, outer)


def wrap(death: Death, orders: LiveOverrides) -> None:
    """Put `death` at every point, and make waits short."""
    _wrap_preparation(death)
    _wrap_ledger(death, orders.checkpoint_pages)
    _wrap_database(death, orders.lease_s)
    _wrap_report(death)
    if orders.told is not None:
        _tell(orders.told)
    _put("pipeline.run", "RunEnvironment", partial(RunEnvironment, open_link=_link(death)))
    _put("pipeline.cli.setup", "load_vendors", lambda: quick_vendors(SETTLE_AFTER_S))
    _put("pipeline.run.stretch", "random", SimpleNamespace(random=lambda: JITTER))


def _put(module: str, name: str, what: Any) -> None:
    """Another thing under a name that must be there."""
    found = import_module(module)
    getattr(found, name)
    setattr(found, name, what)


def _wrap_preparation(death: Death) -> None:
    prepare, binding = map(import_module, ("pipeline.run.prepare", "pipeline.run.binding"))
    death.before(binding, "ingest", "taking")
    death.after(binding, "bind_snapshot", "bound")
    death.around(prepare, "save", "bound")
    death.around(prepare, "register", "bound")
    death.around(FileRegistry, "change_state", "noting")


def _wrap_ledger(death: Death, checkpoint_pages: int | None) -> None:
    """A commit is reached statement by statement."""
    inner: Callable[..., None] = Database.__init__

    def opened(database: Database, path: Path, *args: Any, **kwargs: Any) -> None:
        inner(database, path, *args, **kwargs)
        if path.parent.parent.name == "runs":
            if checkpoint_pages is not None:
                database._connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
            database._connection.set_trace_callback(lambda _text: death.at("recording"))

    Database.__init__ = opened  # type: ignore[method-assign,assignment]
    death.after(RunLedger, "record", "recorded")


def _wrap_database(death: Death, lease_s: float | None) -> None:
    """A commit is reached question by question."""
    death.around(PgRegistry, "change_state", "noting")
    death.before(PgConnections, "do", "recording")
    death.after(PgLedger, "record", "recorded")
    if lease_s is not None:
        defaults = PgStore.__init__.__kwdefaults__
        assert defaults is not None
        defaults["ttl_s"] = lease_s


def _wrap_report(death: Death) -> None:
    death.before(import_module("pipeline.run.report_facts"), "write_report", "reporting")
    inner = Path.replace

    def renamed(path: Path, target: Path) -> Path:
        found = inner(path, target)
        if "reports" in Path(target).parts:
            death.at("renaming")
        return found

    Path.replace = renamed  # type: ignore[method-assign,assignment]


def _tell(path: str) -> None:
    """Write down what a call of the ledger has returned for."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    record, release = RunLedger.record, RunLedger.release

    def recorded(
        ledger: RunLedger,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange] = (),
        previous_states: Sequence[tuple[int, str]] = (),
    ) -> None:
        record(ledger, claims, results, exchanges, previous_states)
        ended = {each.row: each.status.value for each in results}
        _write_line(file, {"claims": list(claims), "ended": ended})

    def released(ledger: RunLedger, rows: Sequence[int]) -> None:
        _write_line(file, {"released": list(rows)})  # from now on it may be on record or not
        release(ledger, rows)

    RunLedger.record = recorded  # type: ignore[method-assign,assignment]
    RunLedger.release = released  # type: ignore[method-assign,assignment]


def _write_line(file: int, value: object) -> None:
    os.write(file, json.dumps(value).encode() + b"\n")


def _link(death: Death) -> Callable[..., Any]:
    @asynccontextmanager
    async def link(account: Account, account_limiter: AccountLimiter) -> AsyncIterator[Wire[Any]]:
        async with over_http(account, account_limiter) as inner:
            yield _Deadly(inner, death)

    return link


class _Deadly:
    """A wire on which an update may be the last act."""

    def __init__(self, inner: Wire[Any], death: Death) -> None:
        self._inner = inner
        self._death = death
        self.take, self.connect, self.give_back = inner.take, inner.connect, inner.give_back
        self.abort = inner.abort

    def start(self, connection: Any, request: Request, on_reply: OnReply) -> None:
        death, is_write = self._death, request.method in WRITES

        def replied(reply: Reply | NoReply | Exception) -> None:
            if is_write:
                death.at("replied")
            on_reply(reply)

        if is_write:
            death.at("claimed")
            death.at("sent")
        self._inner.start(connection, request, replied)


def obey(orders: LiveOverrides) -> None:
    """Be the command `pipeline`, until death."""
    os.chdir(orders.folder)
    os.environ.update(orders.environ)
    if orders.deaths is not None:
        os.environ |= {ORDERS: json.dumps(asdict(orders)), "PYTHONPATH": str(ROOT)}
        WorkerProcesses.command = property(_deadly)  # type: ignore[assignment,method-assign]
    wrap(Death(replace(orders, deaths=None)), orders)
    sys.argv = ["pipeline", *orders.arguments]
    main()


def _deadly(workers: WorkerProcesses) -> list[str]:
    """The command of a worker that dies, too."""
    return [sys.executable, "-m", "tests.torture.driver", "worker", workers.run]


def obey_as_worker(orders: LiveOverrides, arguments: Sequence[str]) -> None:
    """Be a worker of the life that obeys `orders`, until the next death that these have for one."""
    assert orders.deaths is not None
    for number, (point, nth, delay_s) in enumerate(orders.worker_deaths):
        try:
            os.close(os.open(f"{orders.deaths}-{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        mine = replace(orders, point=point, nth=nth, delay_s=delay_s)
        break
    else:
        mine = replace(orders, point="")
    wrap(Death(mine), mine)
    sys.argv = ["pipeline", *arguments]
    main()


def import_all() -> None:
    """Import whatever the command may need, so that a life begins with it."""
    for module in walk_packages(pipeline.__path__, "pipeline."):
        if not module.name.endswith("__main__"):
            with suppress(ModuleNotFoundError):  # of an extra that is not here
                import_module(module.name)


def fork_lives() -> LiveOverrides | None:
    """Fork a life for each line of stdin. Returns its orders in the life, None at the end."""
    for line in sys.stdin:
        orders = LiveOverrides(**json.loads(line))
        life = os.fork()
        if not life:
            _connect(orders.said)
            return orders
        os.write(1, f"{life}\n".encode())
        _, status = os.waitpid(life, 0)
        os.write(1, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return None


def _connect(said: str) -> None:
    """Connect stdin to nothing, and the output to a file."""
    output = os.open(said, os.O_WRONLY | os.O_APPEND)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(file, number)


if __name__ == "__main__":
    if ORDERS in os.environ:
        obey_as_worker(LiveOverrides(**json.loads(os.environ[ORDERS])), sys.argv[1:])
    import_all()
    if (mine := fork_lives()) is not None:
        obey(mine)
