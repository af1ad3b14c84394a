"""Watches a drop folder: takes what is complete, sends it and puts it away, until told to stop."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.config import Config
from pipeline.model import ConfigError, PipelineError, RowResult, RunAborted
from pipeline.reporter import Summary
from pipeline.run import (
    BusyError,
    CalledOffError,
    Prepared,
    RunEnvironment,
    Session,
    carry_out,
    discard,
    signals_obeyed,
    warnings_about,
)
from pipeline.run.execute import Watch
from pipeline.run.keyed_queue import KeyedQueue
from pipeline.runs import RunOptions
from pipeline.watch.claims import Drops
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
from pipeline.watch.panic import is_panic
from pipeline.watch.prepared import INTERRUPTED, ended, finish, is_left, prepare_claim
from pipeline.watch.problems import DropError
from pipeline.watch.settling import SETTLE_S, Settling

MOST_AT_ONCE = 32
"""So many files of one folder are taken and not put away; the others stay where they were dropped.
A vendor that hangs holds up its own folder only."""

LOOK_EVERY_S = 0.5
STAND_BY_S = 0.5
PRUNE_EVERY = timedelta(hours=6)


Failed = Callable[[str, Sequence[RowResult]], None]


class Watcher:
    """One process's eye on a drop folder. Another one on the same folder stands by.

    options  of every run
    environ  where secrets are looked up
    tell     is told what happens
    say      is told whom it waits for
    show     shows the progress of a run
    failed   is told, in a thread, of a run's results that leave something to do
    expected, zone  what has to come, and the time zone of that
    """

    def __init__(
        self,
        drops: Drops,
        config: Config,
        options: RunOptions,
        *,
        environ: Mapping[str, str],
        tell: Callable[[Event], None],
        say: Callable[[str], None],
        show: Watch,
        failed: Failed = lambda _run, _results: None,
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
        self._expected = expected
        self._zone = zone
        self._settling = Settling(settle_s)
        self._taker = FileIntake(drops, tell)
        self._ground = KnownFolders(drops, config)
        self._shared = Session()
        self._line = KeyedQueue()
        self._preparing = anyio.Lock()
        self._under_way: Counter[Path] = Counter()
        self._failure: PipelineError | None = None
        self._is_cut = False  # by that failure, not by a signal
        self._began = datetime.now(UTC)
        self._told_late: dict[Expectation, datetime] = {}
        self._pruned = datetime.min.replace(tzinfo=UTC)

    async def run(self) -> int:
        """Watch until a signal comes: the exit code.

        Raises RunAborted where the disk refuses, ConfigError where a secret is missing.

        What is under way then finishes as a run does that is interrupted; its file stays taken, and
        the next watcher goes on with it.
        """
        async with signals_obeyed(self._shared):
            if await self._stand_by():
                try:
                    async with anyio.create_task_group() as tasks:
                        await self._watch(tasks)
                finally:
                    self._drops.lock.release()
        if self._failure is not None and (self._is_cut or self._shared.interrupted is None):
            raise self._failure  # what a signal brought about was told
        return INTERRUPTED + int(self._shared.interrupted or 0)

    @property
    def _is_over(self) -> bool:
        return self._shared.interrupted is not None or self._failure is not None

    async def _stand_by(self) -> bool:
        """Wait until no other process watches the folder; False where a signal came first."""
        is_told = False
        while not self._drops.lock.acquire(wait=False):
            if not is_told:
                who = self._drops.lock.held_by()
                self._say(f"{self._drops.inputs} is watched by {who}: standing by.")
                is_told = True
            await anyio.sleep(STAND_BY_S)
            if self._is_over:
                return False
        return True

    async def _watch(self, tasks: TaskGroup) -> None:
        try:
            await anyio.to_thread.run_sync(self._ground.check)
            for claim in await anyio.to_thread.run_sync(self._drops.left):
                self._begin(claim, tasks)
            while not self._is_over:
                await self._look(tasks)
                await anyio.sleep(LOOK_EVERY_S)
        except RunAborted as error:  # what is in flight ends first
            self._failure = self._failure or error
            self._is_cut = self._shared.interrupted is None
            self._shared.interrupt(signal.SIGTERM)

    async def _look(self, tasks: TaskGroup) -> None:
        """Take what is complete, as far as there is room."""
        now = datetime.now(UTC)
        await anyio.to_thread.run_sync(self._ground.check)
        looks = await anyio.to_thread.run_sync(lambda: list(self._drops.looks()))
        self._taker.looked({look.path for look in looks})
        waiting = 0
        for look in self._settling.complete(looks, time.monotonic()):
            claim = None
            if self._under_way[self._drops.home(look.path)] < MOST_AT_ONCE:
                take = partial(self._taker.take, look, time.monotonic())
                claim = await anyio.to_thread.run_sync(take)
            if claim is None:
                waiting += 1
            else:
                self._begin(claim, tasks)
        self._tell(Heartbeat(waiting=self._settling.waiting + waiting))
        self._tell_late(now)
        await self._prune(now)

    async def _prune(self, now: datetime) -> None:
        if now > self._pruned + PRUNE_EVERY:
            self._pruned = now
            keep = timedelta(days=self._config.keep_days)
            await anyio.to_thread.run_sync(partial(self._drops.prune, now, older_than=keep))

    def _tell_late(self, now: datetime) -> None:
        for each in self._expected:
            local = now.astimezone(self._zone)
            came = self._drops.last_came(each.folder)
            if is_late(each, local, since=self._began, last_came=came):
                last = self._told_late.get(each)
                if last is None or now - last >= timedelta(hours=23):
                    self._told_late[each] = now
                    self._tell(ExpectedFileMissing(each))

    # One file...

    def _begin(self, claim: Claim, tasks: TaskGroup) -> None:
        self._under_way[claim.home] += 1
        self._tell(FileTaken(claim.file, claim.is_again))
        tasks.start_soon(self._serve, claim)

    async def _serve(self, claim: Claim) -> None:
        """Send one file and put it away. Its errors stop no other, but for a refusing disk."""
        try:
            await self._send(claim)
        except (BusyError, CalledOffError) as error:  # a signal came, or its run is somebody else's
            self._tell(FileLeft(claim.file, str(error)))
        except DropError as error:
            self._tell(FileStuck(claim.file, str(error)))
        except RunAborted as error:
            await self._broken_off(claim, error)
        except ConfigError as error:  # a missing secret: the next file would meet the same
            self._failure = self._failure or error
            self._tell(FileLeft(claim.file, str(error)))
        except PipelineError as error:
            self._set_aside(claim, str(error), error.without_values())
        except Exception as error:  # noqa: BLE001 - others are being sent: they go on
            self._set_aside(claim, f"an internal error broke it off: {error!r}")
        except BaseException as error:
            if not is_panic(error):
                raise
            self._set_aside(claim, f"a library failed, which broke it off: {error!r}")
        finally:
            self._under_way[claim.home] -= 1

    async def _broken_off(self, claim: Claim, error: RunAborted) -> None:
        """It could not be put on record: the fault of one file or run, or of the disk for all."""
        await anyio.sleep(LOOK_EVERY_S)  # a signal to all processes may be on its way here
        if self._is_over:
            self._tell(FileLeft(claim.file, str(error)))
        elif await anyio.to_thread.run_sync(self._ground.fault):
            self._failure = self._failure or error
            self._tell(FileLeft(claim.file, str(error)))
        else:
            self._set_aside(claim, str(error))

    def _set_aside(self, claim: Claim, reason: str, safe: str = "") -> None:
        try:
            place = self._drops.set_aside(claim, reason)
        except DropError as error:
            self._tell(FileStuck(claim.file, f"{reason}; {error}"))
        except RunAborted as error:
            self._failure = self._failure or error
            self._tell(FileLeft(claim.file, f"{reason}; {error}"))
        else:
            self._tell(FileQuarantined(claim.file, place, reason, safe=safe))

    async def _send(self, claim: Claim) -> None:
        claim, summary = await self._carried_out(claim)
        if summary is None or await anyio.to_thread.run_sync(is_left, summary, self._config):
            self._tell(FileLeft(claim.file, "stopped"))
            return
        put = partial(finish, claim, self._drops, self._config, summary)
        self._tell(await anyio.to_thread.run_sync(put))

    async def _carried_out(self, claim: Claim) -> tuple[Claim, Summary | None]:
        """The claim as it stands then; None where a signal came before it was begun."""
        # one after the other: a step before this one could let a later file overtake an earlier
        async with self._preparing:
            if self._is_over:
                return claim, None
            look_up = partial(ended, claim, self._drops, self._config)
            claim, over = await anyio.to_thread.run_sync(look_up)
            if over is not None:
                return claim, over
            prepared = await anyio.to_thread.run_sync(self._prepared, claim)
            turn = self._line.join(prepared.places)
        claim = await anyio.to_thread.run_sync(self._drops.as_noted, claim)
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
            self._shared.stop_reasons.clear()  # what stopped an account yesterday may be gone
            way = RunEnvironment(
                watch=self._show,
                shared=self._shared,
                environ=self._environ,
                tell=self._say,
                failed=partial(self._failed, prepared.run),
            )
            return await carry_out(prepared, way)
