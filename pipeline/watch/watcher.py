"""Watches a drop folder: takes what is complete, sends it and puts it away, until told to stop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from watchfiles import awatch

from pipeline.config import Config
from pipeline.ledger import LedgerError
from pipeline.model import ConfigError, PipelineError, RowResult, RunAborted
from pipeline.report import Summary
from pipeline.run import (
    BusyError,
    CalledOffError,
    RunOptions,
    Shared,
    Way,
    carry_out,
    discard,
    signals_obeyed,
)
from pipeline.run.send import Watch
from pipeline.watch.claims import Claim, Drops
from pipeline.watch.events import Beat, Begun, Came, Event, Late, LeftAlone, SetAside
from pipeline.watch.expect import Expectation, is_late
from pipeline.watch.line import Line
from pipeline.watch.prepared import INTERRUPTED, ended, finish, is_left, prepare_claim
from pipeline.watch.settling import SETTLE_S, Settling

MOST_AT_ONCE = 32
"""So many files of one folder are taken and not put away; the others stay where they were dropped.
A vendor that hangs holds up its own folder only."""

LOOK_EVERY_MS = 500
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
    polls    looks again and again, where the file system does not tell of changes
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
        polls: bool = False,
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
        self._polls = polls
        self._settling = Settling(settle_s)
        self._shared = Shared()
        self._line = Line()
        self._preparing = anyio.Lock()
        self._under_way: Counter[Path] = Counter()
        self._failure: PipelineError | None = None
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
        if self._failure is not None and self._shared.interrupted is None:
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
            for claim in await anyio.to_thread.run_sync(self._drops.left):
                self._begin(claim, tasks)
            async with aclosing(self._news()) as news:
                async for _ in news:
                    await self._look(tasks)
                    if self._is_over:
                        return
        except RunAborted as error:  # what is under way ends first
            self._failure = self._failure or error

    async def _news(self) -> AsyncGenerator[object, None]:
        """Whenever something changed in the folder, and at least every `LOOK_EVERY_MS`."""
        yield None
        with suppress(Exception):  # it chokes on names that are no UTF-8; looking goes on without
            async for each in awatch(
                self._drops.inputs,
                watch_filter=None,
                debounce=200,
                step=50,
                rust_timeout=LOOK_EVERY_MS,
                yield_on_timeout=True,
                force_polling=self._polls or None,
                ignore_permission_denied=True,
            ):
                yield each
        while True:
            await anyio.sleep(LOOK_EVERY_MS / 1000)
            yield None

    async def _look(self, tasks: TaskGroup) -> None:
        """Take what is complete, as far as there is room."""
        now = datetime.now(UTC)
        looks = await anyio.to_thread.run_sync(lambda: list(self._drops.looks()))
        complete = self._settling.complete(looks, time.monotonic())
        held_back = 0
        for look in complete:
            if self._under_way[self._drops.home(look.path)] >= MOST_AT_ONCE:
                held_back += 1
            elif claim := self._drops.claim(look.path, datetime.now(UTC)):  # later than the last
                self._begin(claim, tasks)
        self._tell(Beat(waiting=self._settling.waiting + held_back))
        self._tell_late(now)
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
                    self._tell(Late(each))

    # One file...

    def _begin(self, claim: Claim, tasks: TaskGroup) -> None:
        self._under_way[claim.home] += 1
        self._tell(Came(claim.file, claim.is_again))
        tasks.start_soon(self._serve, claim)

    async def _serve(self, claim: Claim) -> None:
        """Send one file and put it away. Its errors stop no other, but for a refusing disk."""
        try:
            await self._send(claim)
        except (BusyError, CalledOffError) as error:  # a signal came, or its run is somebody else's
            self._tell(LeftAlone(claim.file, str(error)))
        except RunAborted as error:
            if isinstance(error, LedgerError):
                self._set_aside(claim, str(error))
            else:
                self._failure = self._failure or error
                self._tell(LeftAlone(claim.file, str(error)))
        except ConfigError as error:  # a missing secret: the next file would meet the same
            self._failure = self._failure or error
            self._tell(LeftAlone(claim.file, str(error)))
        except PipelineError as error:
            self._set_aside(claim, str(error), error.without_values())
        except Exception as error:  # noqa: BLE001 - others are being sent: they go on
            self._set_aside(claim, f"an internal error broke it off: {error!r}")
        finally:
            self._under_way[claim.home] -= 1

    def _set_aside(self, claim: Claim, reason: str, safe: str = "") -> None:
        try:
            place = self._drops.set_aside(claim, reason)
        except RunAborted as error:
            self._failure = self._failure or error
            self._tell(LeftAlone(claim.file, f"{reason}; {error}"))
        else:
            self._tell(SetAside(claim.file, place, reason, safe=safe))

    async def _send(self, claim: Claim) -> None:
        summary = await self._carried_out(claim)
        if summary is None or await anyio.to_thread.run_sync(is_left, summary, self._config):
            self._tell(LeftAlone(claim.file, "stopped"))
            return
        put = partial(finish, claim, self._drops, self._config, summary)
        self._tell(await anyio.to_thread.run_sync(put))

    async def _carried_out(self, claim: Claim) -> Summary | None:
        """None where a signal came before it was begun."""
        make = partial(
            prepare_claim, claim, self._drops, self._config, self._options, self._environ
        )
        # one after the other: a step before this one could let a later file overtake an earlier
        async with self._preparing:
            if self._is_over:
                return None
            over = await anyio.to_thread.run_sync(ended, claim, self._config)
            if over is not None:
                return over
            prepared = await anyio.to_thread.run_sync(make)
            turn = self._line.join(prepared.places)
        async with turn:
            if self._is_over:
                discard(prepared)
                return None
            if prepared.refusal is None:
                rows = {name: jobs.rows for name, jobs in prepared.bound.jobs.items()}
                self._tell(Begun(claim.file, prepared.run, rows, prepared.bound.invalid))
            self._shared.hopeless.clear()  # what stopped an account yesterday may be gone
            way = Way(
                watch=self._show,
                shared=self._shared,
                environ=self._environ,
                tell=self._say,
                failed=partial(self._failed, prepared.run),
            )
            return await carry_out(prepared, way)
