"""A run whose workers Ray starts, on a Ray, a database and a vendor of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.postgres import PostgresServer, postgres_server
from tests.torture.fault_table import DATABASE, LATENCY, LIMITS, RATE, configuration, dropped
from tests.workplace import ENVIRON, Simulator, simulator

ROOT = Path(__file__).parent.parent.parent
BIN = ROOT / ".venv" / "ray" / "bin"
WAIT_S = 240.0
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2}
"""What a cluster and those who join it have in their environment."""


@dataclass(slots=True)
class Stage:
    """All that a run needs, and what was started for it.

    folder  of the configuration and the file
    home    of Ray: its sessions, its token
    """

    folder: Path
    home: Path
    vendor: Simulator
    database: PostgresServer
    rows: int
    environ: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *words: str | Path, **environ: str) -> subprocess.Popen[bytes]:
        """Start a program of the Python that has Ray."""
        command = [BIN / words[0], *words[1:]]
        with (self.folder / f"log-{len(self.started)}").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environ, **environ},
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def log(self) -> str:
        """What the commands printed."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log-*")))

    def requests(self) -> int:
        """That the vendor has seen."""
        return int(self.vendor.stats()["requests"])

    def processes(self, *names: str) -> list[int]:
        """Those of this Ray whose command or title begins so: `raylet`, `ray::RayWorker`."""
        raylets = [each for each in _all() if str(self.home) in each.command]
        mine = {each.pid for each in raylets}
        found = [each for each in _all() if each.pid in mine or each.parent in mine]
        return [each.pid for each in found if each.name.startswith(names)]

    def parent_of(self, pid: int) -> int:
        """The process that started another."""
        return next(each.parent for each in _all() if each.pid == pid)

    def clean(self) -> None:
        """End what was started, and what Ray left."""
        for process in self.started:
            process.kill()
            process.wait()
        for _ in range(3):  # what has just begun as well
            for pid in self.processes(""):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        shutil.rmtree(self.home, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    command: str

    @property
    def name(self) -> str:
        return Path(self.command.split(" ")[0]).name


def _all() -> Iterator[_Process]:
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            yield _Process(int(path.name), int(parent), command.strip())


@contextmanager
def staged(folder: Path, *, seconds: float) -> Iterator[Stage]:
    """A vendor with a strict sliding window, a database, a configuration of both, and a file."""
    rows = int(RATE * seconds)
    with ExitStack() as stack:
        database = stack.enter_context(postgres_server(DATABASE))
        vendor = stack.enter_context(simulator(*LIMITS, *LATENCY))
        (folder / "pipeline.toml").write_text(configuration(vendor, database.new_database()))
        dropped(folder, rows)
        home = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: paths of sockets
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        path = f"{BIN}:{os.environ['PATH']}"
        own = {"HOME": str(home), "RAY_TMPDIR": str(home), "PATH": path}
        stage = Stage(folder, home, vendor, database, rows, {**kept, **ENVIRON, **own})
        stack.callback(stage.clean)
        yield stage
