"""What faults do to a run of several workers, as a table.

    make worker-faults
    .venv/bin/python -m tests.torture.worker_faults --times 3 "worker killed" partition

A run of an account in four shares, with PostgreSQL as its store, a strict sliding window at the
vendor, and one fault amid it. Ends with 1 where a promise was broken; the folder of such a run
stays, and is named. The cut needs root, for a network namespace.

The fault "partition, default sockets" shows that the cut can be noticed: the other host's sockets
have no TCP_USER_TIMEOUT, and it MUST end with 1. It runs only by name.
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from pipeline.store.postgres.store import PgStore
from pipeline.store.seam import share_lease
from tests.postgres import PostgresServer, postgres_server
from tests.postgres_tls import tls_in_front
from tests.torture.far_host import FarHost, far_host, why_not
from tests.torture.fault_table import (
    DATABASE,
    IN_FLIGHT,
    LATENCY,
    LIMITS,
    LONGER,
    NO_FAULT,
    RATE,
    configuration,
    dropped,
    judged,
    tabulate,
)
from tests.torture.worker_judge import Verdict
from tests.workplace import ENVIRON, Simulator, simulator

LOCAL = "127.0.0.1"
BEFORE_S = 4.0
"""From the first request to the fault."""
LONGER_THAN_A_LEASE_S = 20.0
LIMIT_S = 240.0
COMMAND = (sys.executable, "-m", "pipeline")
_UNSET = "from pipeline.http_client import connections; connections.USER_TIMEOUT = None"
DEFAULT_SOCKETS = (sys.executable, "-c", f"{_UNSET}; import pipeline.cli; pipeline.cli.main()")
"""The command, whose requests the kernel delivers however late."""
HANDED_OVER_S = 1.0
"""From the cut to the vendor to that to the database: rows are claimed, and requests handed to the
kernel."""
DELIVERED_S = 90.0
"""Within which a kernel sends again, or gives up, what was not acknowledged."""


@dataclass(slots=True)
class Stage:
    """All that a run needs, and what was started for it.

    folder   of the driver; `elsewhere` is that of a worker that joins
    host     the other host; None: everything is here
    far_command  the command there
    workers  of the driver
    """

    folder: Path
    vendor: Simulator
    database: PostgresServer
    url: str
    workers: int
    rows: int
    host: FarHost | None = None
    far_command: Sequence[str] = COMMAND
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def elsewhere(self) -> Path:
        """The folder of a worker that joins: it has the configuration, and nothing else."""
        return self.folder.with_name(f"{self.folder.name}-elsewhere")

    def start(self, *words: str, far: bool = False) -> subprocess.Popen[bytes]:
        """Start a command."""
        command = [*COMMAND, *words]
        if far and self.host is not None:
            command = self.host.command(*self.far_command, *words)
        folder = self.elsewhere if far else self.folder
        with (self.folder / f"log-{len(self.started)}").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **ENVIRON}
            )
        self.started.append(process)
        return process

    def store(self) -> PgStore:
        """The store, as the runs have it."""
        return PgStore(self.url)

    def run(self) -> str:
        """The name of the run, once it is on record."""
        with closing(self.store()) as store:
            while not (names := store.runs.names()):
                time.sleep(0.05)
        return names.pop()

    def await_requests(self, number: int) -> None:
        """Wait until so many requests have arrived."""
        end_s = time.monotonic() + LIMIT_S
        while self.vendor.stats()["requests"] < number:
            if time.monotonic() > end_s:
                raise TimeoutError(f"fewer than {number} requests arrived")
            time.sleep(0.05)

    def await_share(self, pid: int) -> None:
        """Wait until a process has a share."""
        end_s = time.monotonic() + LIMIT_S
        run = self.run()
        with closing(self.store()) as store:
            names = [share_lease(run, each.share) for each in store.runs.shares(run)]
            held = [store.lease(name) for name in names]
            while pid not in {holder.pid for each in held if (holder := each.holder())}:
                if time.monotonic() > end_s:
                    raise TimeoutError(f"process {pid} has no share")
                time.sleep(0.05)

    def await_delivery(self) -> None:
        """Wait until the other host's kernel has delivered, or given up, all that it was handed."""
        end_s = time.monotonic() + DELIVERED_S
        port = int(self.vendor.url.rpartition(":")[2])
        while self.host is not None and self.host.undelivered(port):
            if time.monotonic() > end_s:
                raise TimeoutError(f"bytes were not delivered in {DELIVERED_S:g} s")
            time.sleep(0.2)

    def log(self) -> str:
        """What the commands printed."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log-*")))


Fault = Callable[[Stage, subprocess.Popen[bytes]], subprocess.Popen[bytes]]
"""Does something to a run and its driver; returns the process that will report."""


def workers_of(driver: subprocess.Popen[bytes]) -> list[int]:
    """The process ids of a driver's workers."""
    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def nothing(_stage: Stage, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """No fault."""
    return driver


def worker_killed(_stage: Stage, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """`kill -9` of one worker."""
    os.kill(workers_of(driver)[-1], signal.SIGKILL)
    return driver


def worker_stopped(_stage: Stage, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """A worker stands still for longer than its leases, and wakes."""
    pid = workers_of(driver)[-1]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(LONGER_THAN_A_LEASE_S)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    return driver


def driver_killed(stage: Stage, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """`kill -9` of the driver; another resumes the run."""
    driver.kill()
    driver.wait()
    return stage.start("resume", "--yes", "--workers", str(stage.workers))


def driver_stopped(stage: Stage, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """The driver stands still for longer than its lease; another resumes the run, and it wakes."""
    driver.send_signal(signal.SIGSTOP)
    time.sleep(LONGER_THAN_A_LEASE_S)
    again = stage.start("resume", "--yes", "--workers", str(stage.workers))
    end_s = time.monotonic() + LONGER_THAN_A_LEASE_S
    while not workers_of(again) and again.poll() is None and time.monotonic() < end_s:
        time.sleep(0.05)
    driver.send_signal(signal.SIGCONT)
    driver.wait(LIMIT_S)
    return again


def database_stopped(stage: Stage, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """The database is away for longer than a lease."""
    stage.database.stop(signal.SIGINT)
    time.sleep(LONGER_THAN_A_LEASE_S)
    stage.database.start()
    return driver


def database_killed(stage: Stage, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """`kill -9` of the database, which starts again."""
    stage.database.stop(signal.SIGKILL)
    time.sleep(2.0)
    stage.database.start()
    return driver


def partition(stage: Stage, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Both cables of the other host are cut for longer than a lease, that to the vendor first."""
    assert stage.host is not None
    stage.host.vendor.cut()
    time.sleep(HANDED_OVER_S)
    stage.host.database.cut()
    time.sleep(LONGER_THAN_A_LEASE_S)
    stage.host.database.mend()
    stage.host.vendor.mend()
    return driver


FAULTS: dict[str, Fault] = {
    NO_FAULT: nothing,
    "worker killed": worker_killed,
    "worker stopped": worker_stopped,
    "driver killed": driver_killed,
    "driver stopped": driver_stopped,
    "database stopped": database_stopped,
    "database killed": database_killed,
    "partition": partition,
}
UNSAFE_PARTITION = "partition, default sockets"
FAR = frozenset({"partition", UNSAFE_PARTITION})


@contextmanager
def staged(folder: Path, *, workers: int, seconds: float, is_far: bool) -> Iterator[Stage]:
    """A vendor, a database, a configuration of both, and a file."""
    rows = int(RATE * seconds)
    with ExitStack() as stack:
        host = stack.enter_context(far_host()) if is_far else None
        address = LOCAL if host is None else host.vendor.near_address
        database = stack.enter_context(postgres_server(DATABASE))
        url = database.new_database()
        if host is not None:
            url = stack.enter_context(_over_tls(folder, url, host.database.near_address))
        vendor = stack.enter_context(simulator(*LIMITS, *LATENCY, "--host", address))
        stage = Stage(folder, vendor, database, url, workers, rows, host)
        for each in (folder, stage.elsewhere):
            each.mkdir(exist_ok=True)
            (each / "pipeline.toml").write_text(configuration(vendor, url))
        dropped(folder, rows)
        try:
            yield stage
        finally:
            for process in stage.started:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


@contextmanager
def _over_tls(folder: Path, url: str, host: str) -> Iterator[str]:
    """The URL of a database as another host reaches it."""
    authority = trustme.CA()
    root = folder.with_name(f"{folder.name}-authority.pem")
    authority.cert_pem.write_to_path(root)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    name = url.partition("///")[2].partition("?")[0]
    try:
        with tls_in_front(url, context, host) as port:
            yield f"postgresql://pipeline@{host}:{port}/{name}?sslrootcert={root}"
    finally:
        root.unlink()


def attempt(name: str, folder: Path, *, workers: int, seconds: float) -> tuple[Verdict, list[str]]:
    """Send one file, with one fault; what became of it, and which promises were broken."""
    is_clean = name == NO_FAULT
    of_sending_s = seconds * LONGER if is_clean else seconds
    with staged(folder, workers=workers, seconds=of_sending_s, is_far=name in FAR) as stage:
        near = workers - (name in FAR)
        file = str(stage.folder / "inputs" / "xsolla.coupon" / "coupons.csv")
        driver = stage.start("run", "--yes", "--workers", str(near), file)
        joined = None
        if name in FAR:
            stage.far_command = DEFAULT_SOCKETS if name == UNSAFE_PARTITION else COMMAND
            joined = stage.start("worker", stage.run(), far=True)
        stage.await_requests(1)
        if joined is not None:
            stage.await_share(joined.pid)
        time.sleep(BEFORE_S)
        driver = (FAULTS | {UNSAFE_PARTITION: partition})[name](stage, driver)
        wrong = [f"{word} ended with {code}" for word, code in _ends(driver, joined) if code]
        stage.await_delivery()
        within_s = seconds if is_clean else None
        found = judged(stage.vendor, stage.database, stage.rows, within_s)
        wrong += found.broken(most_twice=IN_FLIGHT)
        if not any(stage.folder.glob("reports/*/summary.json")):
            wrong.append("there is no report")
    return found, wrong


def _ends(
    driver: subprocess.Popen[bytes], joined: subprocess.Popen[bytes] | None
) -> Iterator[tuple[str, int]]:
    for word, process in (("the driver", driver), ("the worker that joined", joined)):
        if process is not None:
            try:
                yield word, process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                yield f"{word} did not end in {LIMIT_S:g} s and", -1


def main() -> None:
    """As the arguments say."""
    why = why_not()
    if why:
        print(f"{', '.join(sorted(FAR))} is left out: {why}")
    tabulate(
        __doc__,
        [*FAULTS, UNSAFE_PARTITION],
        attempt,
        left_out=FAR if why else (),
        by_name={UNSAFE_PARTITION},
    )


if __name__ == "__main__":
    main()
