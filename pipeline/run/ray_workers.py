"""Starts the workers of a run by Ray. It places them and starts them again, and decides nothing.

As actors of the cluster that RAY_ADDRESS names, or of one on this machine; or as jobs of a cluster
that this process reaches by HTTP alone. Whatever becomes of them, who sends what is decided by the
leases in the store: Ray may hold a worker dead that goes on.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from anyio import to_thread

from pipeline.config import load_config
from pipeline.model import ConfigError, Fault, PipelineError
from pipeline.run.environment import RunEnvironment
from pipeline.run.reopen import join
from pipeline.run.schedule_window import ScheduleWindow
from pipeline.run.session import Session
from pipeline.run.share_worker import work
from pipeline.run.worker_processes import StartWorkers
from pipeline.vendors import load_vendors

INSTALL = "pip install 'offer-pipeline[ray]'"
OBJECTS_BYTES = 100 * 1024**2
"""Memory for objects of a Ray on this machine, near the least that it takes: nothing is kept in
it."""

NICENESS = "RAY_worker_niceness"
"""Names what is added to the niceness of the processes that a Ray started here starts."""

ACTOR = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 4}
"""Started again on whatever node is left, with the same call; `stop` works beside `work`."""

KILLED = -int(signal.SIGKILL)
FAILED = 3
TOO_SLOW = "timed out during startup"
NO_NODE = "no node of Ray is left: it or its machine was ended"
_SHELL = 128  # plus the number of the signal that killed what a shell runs
Tell = Callable[[str], None]


class _End(NamedTuple):
    """How a worker ended: its exit code, and words for people."""

    code: int
    words: str


@contextmanager
def ray_actors(
    address: str | None, count: int, config_file: Path | None, until: datetime | None, tell: Tell
) -> Iterator[StartWorkers]:
    """Join a Ray cluster while the block runs; yields what makes workers there.

    address  of the cluster; None: one of this process, for `count` workers, which ends with it

    Raises ConfigError if there is no Ray, or it cannot be joined.
    """
    ray = _import_ray()
    own = {"num_cpus": count, "object_store_memory": OBJECTS_BYTES, "include_dashboard": False}
    how = {"address": address} if address else {"address": "local", **own}
    if not address:  # Ray lets its workers wait for all other work of the machine otherwise
        os.environ.setdefault(NICENESS, "0")
    try:
        join_cluster(ray, how)
    except Exception as error:  # noqa: BLE001 - Ray has no class for it
        raise ConfigError([_refused(address or "this machine", error)]) from None
    try:
        with ThreadPoolExecutor(1, "ray-actors") as thread:
            yield lambda run: RayActors(ray, thread, run, config_file, until, tell)
    finally:
        ray.shutdown()


@contextmanager
def ray_jobs(
    address: str, config_file: Path | None, until: datetime | None, tell: Tell
) -> Iterator[StartWorkers]:
    """Reach the jobs of a Ray cluster; yields what makes workers there.

    address  http://HOST:PORT

    Raises ConfigError if there is no Ray here, or none there.
    """
    _import_ray()
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415 - as `_import_ray`

    try:
        client = JobSubmissionClient(address)
    except Exception as error:  # noqa: BLE001 - Ray has no class for it
        raise ConfigError([_refused(address, error)]) from None
    with ThreadPoolExecutor(1, "ray-jobs") as thread:
        yield lambda run: RayJobs(client, thread, run, config_file, until, tell)


def join_cluster(ray: Any, how: Mapping[str, Any]) -> None:
    """Start or join a Ray; one whose node was too slow to start, as on a busy machine, once more.

    Raises what Ray raises.
    """
    for is_last in (False, True):
        try:
            ray.init(**how, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            ray.shutdown()
            if is_last or TOO_SLOW not in str(error):
                raise
        else:
            return


def _import_ray() -> Any:
    try:  # only who uses it has installed it
        import ray  # noqa: PLC0415
    except ImportError as error:
        what = f"workers by Ray need further packages: {error}"
        raise ConfigError(Fault(what=what, todo=INSTALL)) from None
    return ray


def _refused(where: str, error: Exception) -> Fault:
    """Why a cluster cannot be used, in one line; other versions are most often the reason."""
    words = " ".join(str(error).split())
    if TOO_SLOW in words:
        todo = "Try again when this machine is less busy"
    elif "ersion mismatch" in words:
        todo = "Run this command with the Ray version and the Python (3.x) of the cluster"
    else:
        todo = "Is it up, and RAY_AUTH_MODE=token set here as there, if it wants a token?"
    return Fault(what=f"the Ray cluster at {where} cannot be used: {words}", todo=todo)


class RayWorker:
    """The actor: a worker in a process of Ray's. Secrets are those of its node."""

    def __init__(self) -> None:
        self._shared = Session()

    async def work(self, run: str, config_file: str | None, until: str | None) -> tuple[int, str]:
        """Send shares of the run; returns an exit code as `pipeline worker` has, and words."""
        end = None if until is None else datetime.fromisoformat(until)
        window = ScheduleWindow(until=end)
        way = RunEnvironment(shared=self._shared, window=window, tell=print)
        file = None if config_file is None else Path(config_file)
        try:
            config = load_config(file, environ=os.environ, vendors=load_vendors(), cwd=Path.cwd())
            prepared = await to_thread.run_sync(join, run, config)
            await work(prepared, way, who=f"{socket.gethostname()}:{os.getpid()}")
        except PipelineError as error:
            return FAILED, str(error)
        return 0, ""

    async def stop(self) -> None:
        """End after the requests in flight."""
        self._shared.interrupt(signal.SIGTERM)


@dataclass(slots=True)
class _EndChecks:
    """Checks how workers ended, in a thread: no call waits for the cluster.

    thread  one, in which a check follows the one before
    """

    thread: ThreadPoolExecutor
    _check: Future[dict[int, _End]] | None = None

    def found(self, tell: Tell) -> dict[int, _End]:
        """Workers that a check found ended; none while it goes on."""
        if self._check is None or not self._check.done():
            return {}
        found, self._check = self._check.result(), None
        for number, end in found.items():
            if end.words:
                tell(f"worker {number}: {end.words}")
        return found

    def begin(self, check: Callable[[], dict[int, _End]]) -> None:
        """Check, unless a check goes on. Pass none that was found before."""
        if self._check is None:
            self._check = self.thread.submit(check)


@dataclass(slots=True)
class RayActors:
    """Workers as actors. They end with the process that starts them: its end is that of its job.

    Ray starts an actor again by itself, so `ended` names those alone that it does not.
    """

    ray: Any
    thread: ThreadPoolExecutor
    run: str
    config_file: Path | None
    until: datetime | None
    tell: Tell
    _running: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    _end_checks: _EndChecks = field(init=False)

    def __post_init__(self) -> None:
        self._end_checks = _EndChecks(self.thread)

    def start(self, number: int) -> None:
        """Ray places it once a CPU is free."""
        actor = self.ray.remote(**ACTOR)(RayWorker).remote()
        file = None if self.config_file is None else str(self.config_file)
        until = None if self.until is None else self.until.isoformat()
        self._running[number] = actor, actor.work.remote(self.run, file, until)

    def ended(self) -> dict[int, int]:
        """Those whose work returned, or that Ray gave up; all, if no node of it is left."""
        found = self._end_checks.found(self.tell)
        for number in found:
            actor, _ = self._running.pop(number)
            self.ray.kill(actor)
        if self._running:
            self._end_checks.begin(partial(self._ends, dict(self._running)))
        return {number: end.code for number, end in found.items()}

    def _ends(self, running: Mapping[int, tuple[Any, Any]]) -> dict[int, _End]:
        numbers = {end: number for number, (_, end) in running.items()}
        ready, rest = self.ray.wait([*numbers], num_returns=len(numbers), timeout=0)
        found = {numbers[end]: self._end(end) for end in ready}
        if rest and not self._has_node():  # Ray would wait for one to start them on
            found |= {numbers[end]: _End(FAILED, NO_NODE) for end in rest}
        return found

    def _has_node(self) -> bool:
        try:
            return any(node["Alive"] for node in self.ray.nodes())
        except Exception:  # noqa: BLE001 - Ray has no class for it, and ends this process if it lasts
            return True

    def _end(self, end: Any) -> _End:
        try:
            return _End(*self.ray.get(end))
        except self.ray.exceptions.RayError as error:
            return _End(KILLED, str(error))

    def alive(self) -> int:
        """Those that wait for a CPU too."""
        return len(self._running)

    def stop(self, *, at_once: bool) -> None:
        """By a call, or as `ray.kill` does."""
        for actor, _ in self._running.values():
            self.ray.kill(actor) if at_once else actor.stop.remote()


@dataclass(slots=True)
class RayJobs:
    """Workers as jobs, which outlive this process. One that dies is started again from here.

    thread  talks with the cluster, so that no call waits for it
    """

    client: Any
    thread: ThreadPoolExecutor
    run: str
    config_file: Path | None
    until: datetime | None
    tell: Tell
    _jobs: dict[int, Future[str]] = field(default_factory=dict)  # worker -> id of its job
    _end_checks: _EndChecks = field(init=False)

    def __post_init__(self) -> None:
        self._end_checks = _EndChecks(self.thread)

    @property
    def entrypoint(self) -> str:
        """The command of each, for the shell of its node."""
        config = [] if self.config_file is None else ["--config", str(self.config_file)]
        until = [] if self.until is None else ["--until", self.until.isoformat()]
        return shlex.join(["pipeline", *config, "worker", self.run, *until])

    def start(self, number: int) -> None:
        """Ray places it once a CPU is free."""
        submit = partial(self.client.submit_job, entrypoint_num_cpus=1)
        self._jobs[number] = self.thread.submit(submit, entrypoint=self.entrypoint)

    def ended(self) -> dict[int, int]:
        """Those of which the cluster knows that they ended."""
        found = self._end_checks.found(self.tell)
        for number in found:
            del self._jobs[number]
        if self._jobs:
            self._end_checks.begin(partial(self._ends, dict(self._jobs)))
        return {number: end.code for number, end in found.items()}

    def _ends(self, jobs: Mapping[int, Future[str]]) -> dict[int, _End]:
        ends = {number: self._end(job) for number, job in jobs.items()}
        return {number: end for number, end in ends.items() if end is not None}

    def _end(self, job: Future[str]) -> _End | None:
        """How a job ended; None while it runs, or nobody can be asked."""
        if (error := job.exception()) is not None:
            return _End(FAILED, f"it could not be submitted: {error}")
        try:
            info = self.client.get_job_info(job.result())
        except OSError:
            return None
        except RuntimeError as unknown:  # another cluster answers there
            return _End(KILLED, str(unknown))
        return job_end(str(info.status), info.driver_exit_code, info.message or "")

    def alive(self) -> int:
        """Those that wait for a CPU too."""
        return len(self._jobs)

    def stop(self, *, at_once: bool) -> None:
        """At once by Ray, else not at all: each of them finds the order in the store."""
        for job in self._jobs.values() if at_once else ():
            self.thread.submit(self._kill, job)

    def _kill(self, job: Future[str]) -> None:
        self.client.stop_job(job.result())


def job_end(status: str, code: int | None, message: str) -> _End | None:
    r"""How a job ended, as Ray tells it; None if it has not.

    >>> job_end("FAILED", 2, "failed with exit code 2, logs:\npipeline.toml does not exist\n")
    _End(code=2, words='pipeline.toml does not exist')
    >>> job_end("RUNNING", None, ""), job_end("FAILED", 137, "").code
    (None, -9)
    """
    if status == "SUCCEEDED":
        return _End(0, "")
    if status not in {"FAILED", "STOPPED"}:
        return None
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    is_killed = code is None or code == _SHELL + signal.SIGKILL
    return _End(KILLED if is_killed else code or FAILED, lines[-1] if lines else "")
