"""One run from start to finish: the only place where load, engine, ledger and report meet."""

from __future__ import annotations

import heapq
import os
import random
import secrets
import shutil
import signal
import string
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.abc
import anyio.to_thread

from pipeline.config import Config, load_config, public_settings
from pipeline.engine.auth import authorization
from pipeline.engine.gate import Gate
from pipeline.engine.lane import Lane, Send, Surroundings
from pipeline.engine.pool import Pool
from pipeline.engine.recorder import Recorder
from pipeline.engine.transport import Late, Transport
from pipeline.ledger import Ledger, RunFile
from pipeline.load import Bound, RowSelection, bind, read_jobs, take
from pipeline.model import (
    AccountProgress,
    ConfigError,
    Fault,
    InputError,
    InputSettings,
    PipelineError,
    RowResult,
    RunAborted,
    Snapshot,
    Status,
)
from pipeline.policy.brake import BRAKE_AFTER
from pipeline.report import AccountFacts, ReportSource, RunFacts, Summary, write_report
from pipeline.vendors import Account, Operation, load_vendors

SAMPLES = "samples"
LIBRARIES = ("aiohttp", "anyio", "aiolimiter", "polars", "pydantic")

Progress = Callable[[], Sequence[AccountProgress]]
Watch = Callable[[Progress], AbstractContextManager[object]]
OpenLink = Callable[[Account, Late], AbstractAsyncContextManager[Send]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How one file is run.

    operation, account  of every row; None: the file, its folder or the configuration says it
    rows         which rows to send; None: all
    max_invalid  share of rows, 0 to 1; with more of them invalid nothing is sent
    min_rows     with fewer rows in the file nothing is sent
    use_brake    stop an account whose first answers are all the same refusal
    force_order  take rows of an earlier report as new ones
    grace_s      how long requests in flight may finish once the run is stopped
    """

    operation: str | None = None
    account: str | None = None
    rows: RowSelection | None = None
    max_invalid: float = 0.5
    min_rows: int = 0
    use_brake: bool = True
    force_order: bool = False
    grace_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A file that is taken and bound: all that is known before the first request.

    refusal  why nothing may be sent although the file itself is sound; None where it may
    """

    run: str
    folder: Path
    report_folder: Path
    config: Config
    options: RunOptions
    snapshot: Snapshot
    bound: Bound
    refusal: str | None = None
    is_sample: bool = False

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts that rows go to, without their secrets."""
        return tuple(self.config.outline(name) for name in self.bound.jobs)


@dataclass(slots=True)
class Sent:
    """What the sending of a run left beside its results.

    started  when it began
    stopped  account -> why it took no more rows
    signal   that stopped the run; None where none did
    failure  what broke the run off; None where nothing did
    unrecorded  results that could not be put on record; the report has them all the same
    pool     that sends; None before
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    progress: tuple[AccountProgress, ...] = ()
    stopped: dict[str, str] = field(default_factory=dict)
    signal: signal.Signals | None = None
    failure: Exception | None = None
    unrecorded: list[RowResult] = field(default_factory=list)
    pool: Pool | None = None


@dataclass(slots=True)
class Shared:
    """What runs of one command share, one event loop for all of them.

    gates     by account: their windows and pauses hold across files
    hopeless  accounts that would meet the same again -> why
    """

    gates: dict[str, Gate] = field(default_factory=dict)
    hopeless: dict[str, str] = field(default_factory=dict)

    def gate(self, account: Account) -> Gate:
        """The one gate of an account."""
        if account.name not in self.gates:
            self.gates[account.name] = Gate(account.quotas, clock=time.monotonic)
        return self.gates[account.name]


@asynccontextmanager
async def over_http(account: Account, late: Late) -> AsyncIterator[Send]:
    """The way to an account's vendor: what sends a request there and brings the reply."""
    secret = account.vendor.authenticate(account.settings)
    async with Transport(
        account.link,
        authorization=authorization(secret),
        in_flight=account.in_flight,
        late=late,
    ) as transport:
        yield transport.send


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a prepared run is carried out.

    watch           shows progress while rows are sent
    environ         where secrets are looked up
    open_link       how an account's vendor is reached
    shared          what other runs of the same command left
    handle_signals  finish and report on SIGINT and SIGTERM; only in the main thread
    """

    watch: Watch = nullcontext
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    open_link: OpenLink = over_http
    shared: Shared = field(default_factory=Shared)
    handle_signals: bool = False


# The whole of it...


async def run_file_async(
    path: str | Path,
    *,
    config: Config | None = None,
    options: RunOptions | None = None,
    confirm: bool = False,
) -> Summary:
    """Send the rows of one file and report what became of each.

    config   the configuration; None reads it as the command does
    confirm  must be True where the accounts are not simulated: it stands for the answer of the
             person whom the command asks

    Raises InputError or ConfigError where nothing was sent, RunAborted where results could not be
    written.
    """
    config = config or load_config(None, environ=os.environ, vendors=load_vendors(), cwd=Path.cwd())
    prepared = await anyio.to_thread.run_sync(prepare, Path(path), config, options or RunOptions())
    if not confirm and not all(account.is_simulated for account in prepared.accounts):
        raise InputError("nothing was sent: say confirm=True to send to real accounts")
    return await carry_out(prepared)


def run_file(
    path: str | Path,
    *,
    config: Config | None = None,
    options: RunOptions | None = None,
    confirm: bool = False,
) -> Summary:
    """The same as `run_file_async`, for code without an event loop."""

    async def main() -> Summary:
        return await run_file_async(path, config=config, options=options, confirm=confirm)

    return anyio.run(main)


def prepare(path: Path, config: Config, options: RunOptions) -> Prepared:
    """Take and bind one file: its snapshot, its jobs, what is wrong with its rows.

    Raises InputError where the file is broken, RunAborted where the disk refuses.
    """
    is_sample = _is_sample(path, config)
    run = _run_name(datetime.now(UTC), path)
    folder = _private(config.ledger_folder / "runs" / run)
    try:
        snapshot, bound = _take_and_bind(path, config, options, folder, is_sample=is_sample)
        _check_accounts(config, bound, path)
        _check_writable(config.reports)
    except OSError as error:
        shutil.rmtree(folder)
        raise RunAborted(
            f"{path} cannot be copied to {folder}: {error}. Nothing was sent"
        ) from error
    except BaseException:
        shutil.rmtree(folder)
        raise
    return Prepared(
        run=run,
        folder=folder,
        report_folder=config.reports / run,
        config=config,
        options=options,
        snapshot=snapshot,
        bound=bound,
        refusal=_refusal(snapshot, bound, options),
        is_sample=is_sample,
    )


async def carry_out(prepared: Prepared, way: Way | None = None) -> Summary:
    """Send what is prepared, unless it is refused, and write the report.

    Raises ConfigError where nothing was sent, ReportError where the report could not be written,
    RunAborted where the run broke off; then, too, there is a report of what had been sent.
    """
    way = way or Way()
    sent = Sent()
    with RunFile(prepared.folder / "results.jsonl") as ledger:
        async with _signals_obeyed(sent, is_wanted=way.handle_signals):
            try:
                await _sent_or_refused(prepared, way, ledger, sent)
            except ConfigError:
                discard(prepared)
                raise
            return await _reported(prepared, sent, ledger)


async def _reported(prepared: Prepared, sent: Sent, ledger: Ledger) -> Summary:
    if sent.failure is None:
        return await anyio.to_thread.run_sync(_report, prepared, sent, ledger)
    where = "there is no report"
    with suppress(PipelineError):  # what broke the run off comes first
        await anyio.to_thread.run_sync(_report, prepared, sent, ledger)
        where = f"the report is in {prepared.report_folder}"
    why = sent.failure if isinstance(sent.failure, PipelineError) else repr(sent.failure)
    raise RunAborted(f"the run broke off: {why}; {where}") from sent.failure


def check_secrets(prepared: Prepared, environ: Mapping[str, str]) -> None:
    """Raise ConfigError where an account cannot be used: better before a person is asked."""
    if prepared.refusal is None:
        for name in prepared.bound.jobs:
            prepared.config.account(name, environ)


def discard(prepared: Prepared) -> None:
    """Forget a run that was prepared and is not carried out."""
    shutil.rmtree(prepared.folder)


# Taking...


def _is_sample(path: Path, config: Config) -> bool:
    """Whether the file is one of the samples, which only the simulator accepts."""
    is_sample = path.resolve().is_relative_to((config.inputs / SAMPLES).resolve())
    if is_sample and not any(entry.is_simulated for entry in config.accounts.values()):
        raise InputError(
            [
                Fault(
                    what="a sample cannot reach a real account",
                    file=str(path),
                    todo="Add --simulate",
                )
            ]
        )
    return is_sample


def _take_and_bind(
    path: Path, config: Config, options: RunOptions, folder: Path, *, is_sample: bool
) -> tuple[Snapshot, Bound]:
    operations = {op.name: op for v in config.vendors.values() for op in v.operations}
    placed_in = _folder_operation(path, operations)
    sources = {
        name: InputSettings() if is_sample else config.input_for(name) for name in operations
    }
    named = options.operation or placed_in
    delimiter = sources[named].delimiter if named in sources else None
    snapshot = take(path, folder / "snapshot.parquet", delimiter=delimiter, rows=options.rows)
    with RunFile(folder / "results.jsonl") as ledger:
        bound = bind(
            snapshot,
            folder,
            operations=operations,
            accounts={name: config.outline(name) for name in config.accounts},
            inputs=sources,
            operation=options.operation,
            folder_operation=placed_in,
            account=options.account,
            timezone=config.timezone,
            force_order=options.force_order,
            emit=ledger.end,
        )
    return snapshot, bound


def _folder_operation(path: Path, operations: Mapping[str, Operation[Any, Any]]) -> str | None:
    """The operation whose drop folder the file lies in, however deep."""
    return next((part.name for part in path.absolute().parents if part.name in operations), None)


def _run_name(started: datetime, path: Path) -> str:
    """`<UTC time>-<file stem>-<4 letters>`, safe as the name of a folder."""
    stem = path.name.split(".")[0]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stem)[:60]
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    return f"{started:%Y%m%dT%H%M%SZ}-{safe or 'file'}-{letters}"


def _private(folder: Path) -> Path:
    """A new folder that only its owner can read."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise RunAborted(
            f"{folder} cannot be made: {error.strerror}. Mend its permissions, or set `ledger`"
        ) from error
    return folder


def _check_writable(reports: Path) -> None:
    """Raise RunAborted where no report could be written after the run."""
    try:
        reports.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunAborted(
            f"reports cannot be written to {reports}: {error.strerror}. Nothing was sent; "
            "mend its permissions, or set `reports`"
        ) from error


def _check_accounts(config: Config, bound: Bound, path: Path) -> None:
    """Raise InputError where two accounts of the file reach the same entities.

    Rows of one entity keep their order within an account; account names are labels only.
    """
    reached: dict[tuple[str, str], str] = {}
    for name in bound.jobs:
        account = config.outline(name)
        place = (account.link.base_url, account.vendor.scope(account.settings))
        if place in reached:
            raise InputError(
                [
                    Fault(
                        what=f"accounts {reached[place]} and {name} reach the same "
                        f"{' '.join(filter(None, place[::-1]))}, and rows sent through both would "
                        "lose their order",
                        file=str(path),
                        todo="Name one of them in all rows",
                    )
                ]
            )
        reached[place] = name


def _refusal(snapshot: Snapshot, bound: Bound, options: RunOptions) -> str | None:
    if snapshot.rows < options.min_rows:
        return f"the file has {snapshot.rows} rows, fewer than the {options.min_rows} asked for"
    if bound.invalid > options.max_invalid * bound.rows:
        return (
            f"{bound.invalid} of {bound.rows} rows are invalid, more than "
            f"{options.max_invalid:.0%}: nothing was sent"
        )
    return None


# Sending...


async def _sent_or_refused(prepared: Prepared, way: Way, ledger: Ledger, sent: Sent) -> None:
    if prepared.refusal is not None:
        sent.stopped = dict.fromkeys(prepared.bound.jobs, prepared.refusal)
        return
    accounts = [prepared.config.account(name, way.environ) for name in prepared.bound.jobs]
    async with AsyncExitStack() as stack:
        links: list[tuple[Account, Send]] = []
        for account in accounts:
            late = way.shared.gate(account).permit_again
            send = await stack.enter_async_context(way.open_link(account, late))
            links.append((account, send))
        await _send(prepared, way, links, ledger, sent)


async def _send(
    prepared: Prepared,
    way: Way,
    links: Sequence[tuple[Account, Send]],
    ledger: Ledger,
    sent: Sent,
) -> None:
    recorder = Recorder(ledger.end)
    around = Surroundings(
        clock=time.monotonic,
        jitter=random.random,
        brake_after=BRAKE_AFTER if prepared.options.use_brake else 0,
    )
    lanes = [
        Lane(
            account,
            read_jobs(prepared.bound.jobs[account.name].path),
            prepared.bound.jobs[account.name].rows,
            send=send,
            gate=way.shared.gate(account),
            recorder=recorder,
            around=around,
        )
        for account, send in links
    ]
    for lane in lanes:
        if lane.account.name in way.shared.hopeless:
            lane.stop(way.shared.hopeless[lane.account.name], is_hopeless=True)
    sent.pool = Pool(lanes, recorder, grace_s=prepared.options.grace_s)
    if sent.signal is not None:  # it came before there was anything to stop
        sent.pool.stop(f"interrupted by {sent.signal.name}")
    with way.watch(sent.pool.progress):
        try:
            await sent.pool.run()
        except* Exception as group:  # noqa: BLE001 - whatever it is, the rows come first
            sent.failure = _first(group)
    sent.progress = sent.pool.progress()
    sent.unrecorded = recorder.unrecorded
    sent.stopped = {lane.account.name: lane.stopped for lane in lanes if lane.stopped}
    way.shared.hopeless |= {
        lane.account.name: lane.stopped for lane in lanes if lane.stopped and lane.is_hopeless
    }


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


@asynccontextmanager
async def _signals_obeyed(sent: Sent, *, is_wanted: bool) -> AsyncIterator[None]:
    """While rows are sent a signal stops that; while the report is written it waits for it."""
    if not is_wanted:
        yield
        return
    async with anyio.create_task_group() as tasks:
        await tasks.start(_obey_signals, sent)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


async def _obey_signals(sent: Sent, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            sent.signal = sent.signal or number
            if sent.pool is not None:
                sent.pool.stop(f"interrupted by {number.name}")


# Reporting...


def _report(prepared: Prepared, sent: Sent, ledger: Ledger) -> Summary:
    facts = RunFacts(
        started=sent.started,
        ended=datetime.now(UTC),
        accounts=tuple(_account_facts(prepared, sent)),
        is_simulated=bool(prepared.accounts) and all(a.is_simulated for a in prepared.accounts),
        stopped_by=_stopped_by(prepared, sent),
        warnings=tuple(warnings_about(prepared)),
        cleared=_cleared(prepared),
        settings=_settings(prepared),
        versions=_versions(),
        exit_code=_exit_code(prepared, sent),
    )
    source = ReportSource(
        snapshot=prepared.snapshot,
        run=prepared.run,
        results=partial(_results, ledger, sent.unrecorded),
        facts=facts,
        recorded=_recorded(prepared, sent),
        routes={name: jobs.path for name, jobs in prepared.bound.jobs.items()},
        stopped=sent.stopped,
    )
    return write_report(source, prepared.report_folder)


def _results(
    ledger: Ledger, unrecorded: Sequence[RowResult], first: int, last: int
) -> Iterable[RowResult]:
    """What is on record and, few, what could not be put there, in row order."""
    if not unrecorded:
        return ledger.results(first, last)
    more = sorted(each for each in unrecorded if first <= each.row <= last)
    return heapq.merge(ledger.results(first, last), more, key=attrgetter("row"))


def _recorded(prepared: Prepared, sent: Sent) -> dict[Status, int]:
    """Results per status as they were counted when they came."""
    counts = Counter({Status.INVALID: prepared.bound.invalid})
    for account in sent.progress:
        counts.update(account.done)
    return dict(counts)


def _stopped_by(prepared: Prepared, sent: Sent) -> str:
    if sent.failure is not None:
        return f"broken off: {sent.failure}"
    return f"interrupted by {sent.signal.name}" if sent.signal else prepared.refusal or ""


def _account_facts(prepared: Prepared, sent: Sent) -> Iterator[AccountFacts]:
    progress = {each.account: each for each in sent.progress}
    for account in prepared.accounts:
        done = progress.get(account.name)
        yield AccountFacts(
            name=account.name,
            vendor=account.vendor.name,
            host=urlsplit(account.link.base_url).netloc,
            scope=account.vendor.scope(account.settings),
            quota=", ".join(map(str, account.quotas)),
            quota_assumed=account.is_assumed,
            quota_per_s=min(quota.per_second for quota in account.quotas),
            requests=done.sent if done else 0,
            retries=done.retries if done else 0,
            sending_s=round(done.sending_s, 3) if done else 0.0,
        )


def warnings_about(prepared: Prepared) -> Iterator[str]:
    """What is doubtful about a run but does not stop it."""
    if not prepared.snapshot.rows:
        yield "the file has no rows"
    if prepared.bound.repeated:
        yield (
            f"{prepared.bound.repeated} rows share their entity with another row: "
            "they are sent one after the other, in row order"
        )
    for warning in prepared.bound.warnings:
        places = list(map(str, warning.examples))
        if warning.rows > len(places):
            places.append("...")
        yield f"{warning.text} ({warning.rows} rows: {', '.join(places)})"
    for account in prepared.accounts:
        if account.link.tls == "legacy":
            yield f'account {account.name} uses tls = "legacy": old, weak encryption is allowed'


def _cleared(prepared: Prepared) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for cleared in prepared.bound.cleared:
        found[cleared.operation].append(cleared.field)
    return {operation: tuple(fields) for operation, fields in found.items()}


def _settings(prepared: Prepared) -> dict[str, Any]:
    options = prepared.options
    return {
        "configuration": str(prepared.config.file) if prepared.config.file else None,
        "operation": options.operation,
        "account": options.account,
        "rows": str(options.rows) if options.rows else None,
        "max_invalid": options.max_invalid,
        "use_brake": options.use_brake,
        "force_order": options.force_order,
        "grace_s": options.grace_s,
        "accounts": [public_settings(account) for account in prepared.accounts],
    }


def _versions() -> dict[str, str]:
    return {
        "offer-pipeline": metadata.version("offer-pipeline"),
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def _exit_code(prepared: Prepared, sent: Sent) -> int | None:
    """None where it follows from the rows."""
    if sent.failure is not None:
        return 3
    if sent.signal is not None:
        return 128 + sent.signal
    if prepared.refusal is not None:
        return 2
    return 3 if sent.stopped else None
