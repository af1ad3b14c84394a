"""A real Airflow in a folder of its own: scheduler, triggerer, API server and SQLite."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.waiting import until
from tests.workplace import ENVIRON

ROOT = Path(__file__).parent.parent.parent
BIN = ROOT / ".venv" / "airflow" / "bin"
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")
WAIT_S = 480.0


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Airflow:
    """The server.

    home  its folder; `home/dags` holds the DAGs
    url   of its API
    """

    home: Path
    url: str

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API as a person in the UI does."""
        with urllib.request.urlopen(f"{self.url}/auth/token") as reply:
            token = json.load(reply)["access_token"]
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def trigger(self, dag: str, run_id: str) -> None:
        """Start a run of a DAG, as soon as the DAG is known."""
        until(lambda: self.select("select 1 from dag where dag_id = ?", dag), within_s=WAIT_S)
        self.request("PATCH", f"dags/{dag}", {"is_paused": False})
        body = {"dag_run_id": run_id, "logical_date": None}
        self.request("POST", f"dags/{dag}/dagRuns", body)

    def mark_failed(self, dag: str, run_id: str, task: str) -> None:
        """What the button in the UI does."""
        path = f"dags/{dag}/dagRuns/{quote(run_id)}/taskInstances/{task}"
        self.request("PATCH", path, {"new_state": "failed"})

    def select(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of its database."""
        with (
            closing(sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True)) as database,
            suppress(sqlite3.OperationalError),  # locked: asked again
        ):
            return database.execute(query, values).fetchall()
        return []

    def task(self, run_id: str) -> tuple[str | None, int, int | None]:
        """State, number of the try, and process of the only task of a run."""
        found = self.select(
            "select state, try_number, pid from task_instance where run_id = ?", run_id
        )
        return found[0] if found else (None, 0, None)

    def state(self, run_id: str) -> str | None:
        """State of the only task of a run."""
        return self.task(run_id)[0]

    def end(self, run_id: str) -> str:
        """The state in which the task ends."""
        ends = {"success", "failed", "skipped"}
        until(lambda: self.state(run_id) in ends, lambda: self.task(run_id), within_s=WAIT_S)
        return str(self.state(run_id))

    def returned(self, run_id: str) -> Any:
        """What the task pushed as its return value."""
        found = self.select(
            "select value from xcom where run_id = ? and key = 'return_value'", run_id
        )
        value = json.loads(found[0][0])
        return json.loads(value) if isinstance(value, str) else value


@contextmanager
def airflow_server(home: Path, dags: dict[str, str]) -> Iterator[Airflow]:
    """Serve DAGs, file name -> text, until the block ends."""
    (home / "dags").mkdir(parents=True)
    for name, text in dags.items():
        (home / "dags" / name).write_text(text)
    port = free_port()
    environment = _environment(home, port)
    subprocess.run([BIN / "airflow", "db", "migrate"], env=environment, check=True)
    started = []
    try:
        for name in PROCESSES:
            more = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
            if name != "api-server":
                more = ["--skip-serve-logs"] if name != "dag-processor" else []
            with (home / f"{name}.log").open("w") as log:
                started.append(
                    subprocess.Popen(
                        [BIN / "airflow", name, *more],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        server = Airflow(home, f"http://127.0.0.1:{port}")
        until(lambda: _answers(server), (home / "api-server.log").read_text, within_s=WAIT_S)
        yield server
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(server: Airflow) -> bool:
    with suppress(OSError):
        return bool(server.request("GET", "version"))
    return False


def _environment(home: Path, port: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    settings = {
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(home / "dags"),
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__PARALLELISM": "4",
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API_AUTH__JWT_SECRET": "only-for-tests-only-for-tests-only-for-tests-only-for-tests-0001",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "TRIGGERER__CAPACITY": "10",
    }
    return {
        **kept,
        **ENVIRON,
        "PATH": f"{BIN}:{kept.get('PATH', '')}",
        "AIRFLOW_HOME": str(home),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }
