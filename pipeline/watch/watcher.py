"""Watches a drop folder: claims complete files, sends them and moves them, until a signal."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import PurePath

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.config import Config
from pipeline.model import (
    ConfigError,
    NoWorkerError,
    OtherSharesError,
    PipelineError,
    RowResult,
    RunAborted,
)
from pipeline.model.exit_codes import INTERRUPTED
from pipeline.model.panics import is_panic
from pipeline.reporter import ReportError, Summary
from pipeline.run import (
    BusyError,
    CalledOffError,
    Prepared,
    RunEnvironment,
    Session,
    carry_out,
    deliver,
    discard,
    signals_obeyed,
    warnings_about,
)
from pipeline.run.environment import Watch
from pipeline.run.keyed_queue import KeyedQueue
from pipeline.run.worker_processes import StartWorkers
from pipeline.runs import RunOptions
from pipeline.watch.drop_place import DropPlace
from pipeline.watch.environment import KnownFolders
from pipeline.watch.events import (
    Event,
    ExpectedFileMissing,
    FileLeft,
    FileQuarantined,
    FileStarted,
    FileStuck,
    FileTaken,
    Heartbeat,
)
from pipeline.watch.expected_files import Expectation, is_late
from pipeline.watch.intake import FileIntake
from pipeline.watch.notes import Claim
from pipeline.watch.prepared import ended, finish, is_left, prepare_claim
from pipeline.watch.problems import DropError
from pipeline.watch.settling import SETTLE_S, Settling

MAX_AT_ONCE = 32
"""Most files of one folder that are claimed at once; the others stay where they were dropped. A
vendor that hangs delays its own folder only."""

STAND_BY_S = 0.5
PRUNE_EVERY = timedelta(hours=6)


Failed = Callable[[str, Sequence[RowResult]], None]


class Watcher:
    """Watches one drop folder. A second watcher on the same folder waits until the first one ends.

    options   options of every run
    environ   environment variables, for secrets
    tell      called with every event
    say       called with messages about waiting
    show      shows the progress of a run
    failed    called in a thread with the results of a run that leave something to do
    workers   makes the workers that send the rows of a run; None: this process sends them
    count     how many it starts for each run
    settle_s  seconds without a change after which a file counts as complete
    expected  files that must arrive every day
    zone      time zone of `expected`
    """

    def __init__(
        self,
        drops: DropPlace,
        config: Config,
        options: RunOptions,
        *,
        environ: Mapping[str, str],
        tell: Callable[[Event], None],
        say: Callable[[str], None],
        show: Watch,
        failed: Failed = lambda _run, _results: None,
        workers: StartWorkers | None = None,
        count: int = 0,
        settle_s: float = SETTLE_S,
        expected: Sequence[Expectation] = (),
        zone: tzinfo = UTC,
    ) -> None:
        self._drops = drops
        self._config = config
        self._options = options
        self._environ = environ
        self._tell = tell
        self._say = say
        self._show = show
        self._failed = failed
        self._workers = workers
        self._count = count
        self._expected = expected
        self._zone = zone
        self._settling = Settling(settle_s)
        self._intake = FileIntake(drops, tell)
        self._folders = KnownFolders(drops, config)
        self._session = Session()
        self._queue = KeyedQueue()
        self._preparing = anyio.Lock()
        self._in_progress: Counter[PurePath] = Counter()
        self._failure: PipelineError | None = None
        self._is_stopped_by_failure = False
        self._began = datetime.now(UTC)
        self._reported_late: dict[Expectation, datetime] = {}
        self._pruned = datetime.min.replace(tzinfo=UTC)

    async def run(self) -> int:
        """Watch until a signal arrives; return the exit code.

        Raises RunAborted if the disk refuses to write, and ConfigError if a secret is missing.

        Runs in progress then end as interrupted runs do. Their files stay claimed, and the next
        watcher continues with them.
        """
        async with signals_obeyed(self._session):
            if await self._stand_by():
                try:
                    async with anyio.create_task_group() as tasks:
                        await self._watch(tasks)
                finally:
                    self._drops.lock.release()
        is_interrupted = self._session.interrupted is not None
        if self._failure is not None and (self._is_stopped_by_failure or not is_interrupted):
            raise self._failure  # a failure that a signal caused was reported
        return INTERRUPTED + int(self._session.interrupted or 0)

    @property
    def _is_over(self) -> bool:
        return self._session.interrupted is not None or self._failure is not None

    async def _stand_by(self) -> bool:
        """Wait until no other process watches the folder; return False if a signal came first."""
        is_reported = False
        while not self._drops.lock.acquire(wait=False):
            if not is_reported:
                who = self._drops.lock.held_by()
                self._say(f"{self._drops.inputs} is watched by {who}: waiting until it ends.")
                is_reported = True
            await anyio.sleep(STAND_BY_S)
            if self._is_over:
                return False
        return True

    async def _watch(self, tasks: TaskGroup) -> None:
        try:
            await anyio.to_thread.run_sync(self._folders.check)
            for claim in await anyio.to_thread.run_sync(self._drops.unfinished):
                self._begin(claim, tasks)
            while not self._is_over:
                await self._scan(tasks)
                await anyio.sleep(self._drops.scan_every_s)
        except RunAborted as error:  # requests in flight end first
            self._failure = self._failure or error
            self._is_stopped_by_failure = self._session.interrupted is None
            self._session.interrupt(signal.SIGTERM)

    async def _scan(self, tasks: TaskGroup) -> None:
        """Claim complete files, up to MAX_AT_ONCE per folder."""
        now = datetime.now(UTC)
        await anyio.to_thread.run_sync(self._folders.check)
        if news := await anyio.to_thread.run_sync(self._folders.news):
            self._say(news)
        files = await anyio.to_thread.run_sync(lambda: list(self._drops.files()))
        self._intake.on_scan({file.path for file in files})
        waiting = 0
        for file in self._settling.complete(files, time.monotonic()):
            claim = None
            if self._in_progress[self._drops.home(file.path)] < MAX_AT_ONCE:
                make_claim = partial(self._intake.claim, file, time.monotonic())
                claim = await anyio.to_thread.run_sync(make_claim)
            if claim is None:
                waiting += 1
            else:
                self._begin(claim, tasks)
        self._tell(Heartbeat(waiting=self._settling.waiting + waiting))
        self._report_late(now)
        await self._prune(now)

    async def _prune(self, now: datetime) -> None:
        if now > self._pruned + PRUNE_EVERY:
            self._pruned = now
            keep = timedelta(days=self._config.keep_days)
            await anyio.to_thread.run_sync(partial(self._drops.prune, now, older_than=keep))

    def _report_late(self, now: datetime) -> None:
        for each in self._expected:
            local = now.astimezone(self._zone)
            arrival = self._drops.last_arrival(each.folder)
            if is_late(each, local, since=self._began, last_arrival=arrival):
                last = self._reported_late.get(each)
                if last is None or now - last >= timedelta(hours=23):
                    self._reported_late[each] = now
                    self._tell(ExpectedFileMissing(each))

    # One file...

    def _begin(self, claim: Claim, tasks: TaskGroup) -> None:
        self._in_progress[claim.home] += 1
        self._tell(FileTaken(claim.file, claim.is_again))
        tasks.start_soon(self._process, claim)

    async def _process(self, claim: Claim) -> None:
        """Send one file and move it. Its errors stop no other file unless the disk refuses."""
        try:
            await self._send(claim)
        except (BusyError, CalledOffError) as error:  # a signal, or another process has the run
            self._tell(FileLeft(claim.file, str(error)))
        except DropError as error:
            self._tell(FileStuck(claim.file, str(error)))
        except (NoWorkerError, OtherSharesError) as error:  # no fault of the file
            self._tell(FileStuck(claim.file, f"{claim.file} waits for the next start: {error}"))
        except RunAborted as error:
            await self._on_abort(claim, error)
        except ConfigError as error:  # a missing secret: every file needs it
            self._failure = self._failure or error
            self._tell(FileLeft(claim.file, str(error)))
        except PipelineError as error:
            self._quarantine(claim, str(error), error.without_values())
        except Exception as error:  # noqa: BLE001 - runs of other files must continue
            self._quarantine(claim, f"stopped by an internal error: {error!r}")
        except BaseException as error:
            if not is_panic(error):
                raise
            self._quarantine(claim, f"stopped by an error in a library: {error!r}")
        finally:
            self._in_progress[claim.home] -= 1
            self._drops.let_go(claim)

    async def _on_abort(self, claim: Claim, error: RunAborted) -> None:
        """Handle a run that could not be recorded: stop everything only if the disk is at fault."""
        await anyio.sleep(STAND_BY_S)  # a signal to all processes may be on its way here
        if self._is_over:
            self._tell(FileLeft(claim.file, str(error)))
        elif await anyio.to_thread.run_sync(self._folders.fault):
            self._failure = self._failure or error
            self._tell(FileLeft(claim.file, str(error)))
        else:
            self._quarantine(claim, str(error))

    def _quarantine(self, claim: Claim, reason: str, safe: str = "") -> None:
        try:
            place = self._drops.quarantine(claim, reason)
        except DropError as error:
            self._tell(FileStuck(claim.file, f"{reason}; {error}"))
        except RunAborted as error:
            self._failure = self._failure or error
            self._tell(FileLeft(claim.file, f"{reason}; {error}"))
        else:
            self._tell(FileQuarantined(claim.file, place, reason, safe=safe))

    async def _send(self, claim: Claim) -> None:
        claim, summary = await self._run(claim)
        if summary is None or await anyio.to_thread.run_sync(is_left, summary, self._config):
            self._tell(FileLeft(claim.file, "stopped"))
            return
        move = partial(finish, claim, self._drops, self._config, summary)
        self._tell(await anyio.to_thread.run_sync(move))
        try:
            await anyio.to_thread.run_sync(deliver, self._config, summary.run)
        except ReportError as error:
            self._tell(FileStuck(claim.file, str(error)))

    async def _run(self, claim: Claim) -> tuple[Claim, Summary | None]:
        """Run a claimed file; return the claim as recorded. No summary if a signal came first."""
        async with self._preparing:  # files must join the queue in the order of their claims
            if self._is_over:
                return claim, None
            look_up = partial(ended, claim, self._drops, self._config)
            claim, over = await anyio.to_thread.run_sync(look_up)
            if over is not None:
                return claim, over
            prepared = await anyio.to_thread.run_sync(self._prepared, claim)
            turn = self._queue.join(prepared.places)
        claim = await anyio.to_thread.run_sync(self._drops.recorded, claim)
        return claim, await self._in_turn(claim, prepared, turn)

    def _prepared(self, claim: Claim) -> Prepared:
        return prepare_claim(claim, self._drops, self._config, self._options, self._environ)

    async def _in_turn(
        self, claim: Claim, prepared: Prepared, turn: AbstractAsyncContextManager[None]
    ) -> Summary | None:
        async with turn:
            if self._is_over:
                discard(prepared)
                return None
            if prepared.refusal is None:
                rows = {name: jobs.rows for name, jobs in prepared.bound.jobs.items()}
                invalid, warnings = prepared.bound.invalid, tuple(warnings_about(prepared))
                self._tell(FileStarted(claim.file, prepared.run, rows, invalid, warnings))
            self._session.stop_reasons.clear()  # a past reason may be gone
            environment = RunEnvironment(
                watch=self._show,
                shared=self._session,
                environ=self._environ,
                tell=self._say,
                failed=partial(self._failed, prepared.run),
                workers=self._workers,
                count=self._count,
            )
            return await carry_out(prepared, environment)
