"""One run from start to finish: the only place where load, engine, ledger and report meet."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import string
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
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
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio

from pipeline.config import Config, load_config, public_settings
from pipeline.engine.auth import authorization
from pipeline.engine.lane import Lane, Send, Surroundings
from pipeline.engine.pool import Pool
from pipeline.engine.recorder import Recorder
from pipeline.engine.transport import Transport
from pipeline.ledger import Ledger, RunFile
from pipeline.load import Bound, RowSelection, bind, read_jobs, take
from pipeline.model import (
    AccountProgress,
    ConfigError,
    Fault,
    InputError,
    InputSettings,
    PipelineError,
    RunAborted,
    Snapshot,
)
from pipeline.policy.brake import BRAKE_AFTER
from pipeline.report import AccountFacts, ReportSource, RunFacts, Summary, write_report
from pipeline.vendors import Account, Operation, load_vendors

SAMPLES = "samples"
LIBRARIES = ("aiohttp", "anyio", "aiolimiter", "polars", "pydantic")

Progress = Callable[[], Sequence[AccountProgress]]
Watch = Callable[[Progress], AbstractContextManager[object]]
OpenLink = Callable[[Account], AbstractAsyncContextManager[Send]]


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
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    progress: tuple[AccountProgress, ...] = ()
    stopped: dict[str, str] = field(default_factory=dict)
    signal: signal.Signals | None = None
    failure: Exception | None = None
    sending_s: float = 0.0


@asynccontextmanager
async def over_http(account: Account) -> AsyncIterator[Send]:
    """The way to an account's vendor: what sends a request there and brings the reply."""
    secret = account.vendor.authenticate(account.settings)
    async with Transport(
        account.link, authorization=authorization(secret), in_flight=account.in_flight
    ) as transport:
        yield transport.send


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

    Raises InputError where the file is broken.
    """
    is_sample = _is_sample(path, config)
    run = _run_name(datetime.now(UTC), path)
    folder = _private(config.ledger_folder / "runs" / run)
    try:
        snapshot, bound = _take_and_bind(path, config, options, folder, is_sample=is_sample)
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


async def carry_out(
    prepared: Prepared,
    *,
    watch: Watch = nullcontext,
    environ: Mapping[str, str] | None = None,
    open_link: OpenLink = over_http,
    handle_signals: bool = False,
) -> Summary:
    """Send what is prepared, unless it is refused, and write the report.

    watch           shows progress while rows are sent
    environ         where secrets are looked up; None: the process's own
    open_link       how an account's vendor is reached
    handle_signals  finish and report on SIGINT and SIGTERM; only in the main thread
    """
    with RunFile(prepared.folder / "results.jsonl") as ledger:
        try:
            sent = await _sent(prepared, environ, open_link, ledger, watch, handle_signals)
        except ConfigError:
            discard(prepared)
            raise
        if sent.failure is None:
            return await anyio.to_thread.run_sync(_report, prepared, sent, ledger)
        with suppress(PipelineError):  # what broke the run comes first
            await anyio.to_thread.run_sync(_report, prepared, sent, ledger)
    if isinstance(sent.failure, PipelineError):
        raise sent.failure
    raise RunAborted(
        f"an internal error broke the run off: {sent.failure!r}. What was sent is on record; "
        f"the report is in {prepared.report_folder}"
    ) from sent.failure


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


async def _sent(  # noqa: PLR0917 - handed on as they came
    prepared: Prepared,
    environ: Mapping[str, str] | None,
    open_link: OpenLink,
    ledger: Ledger,
    watch: Watch,
    handle_signals: bool,  # noqa: FBT001 - likewise
) -> Sent:
    """Send, unless it is refused."""
    if prepared.refusal is not None:
        return Sent(stopped=dict.fromkeys(prepared.bound.jobs, prepared.refusal))
    secrets_from = os.environ if environ is None else environ
    accounts = [prepared.config.account(name, secrets_from) for name in prepared.bound.jobs]
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(open_link(account)) for account in accounts]
        return await _send(
            prepared, list(zip(accounts, links, strict=True)), ledger, watch, handle_signals
        )


async def _send(
    prepared: Prepared,
    links: Sequence[tuple[Account, Send]],
    ledger: Ledger,
    watch: Watch,
    handle_signals: bool,  # noqa: FBT001 - likewise
) -> Sent:
    recorder = Recorder(ledger.end)
    around = Surroundings(
        clock=time.monotonic,
        jitter=random.random,
        brake_after=BRAKE_AFTER if prepared.options.use_brake else 0,
    )
    sent, begun_s = Sent(), time.monotonic()
    lanes = [
        Lane(
            account,
            read_jobs(prepared.bound.jobs[account.name].path),
            prepared.bound.jobs[account.name].rows,
            send=send,
            recorder=recorder,
            around=around,
        )
        for account, send in links
    ]
    pool = Pool(lanes, recorder, grace_s=prepared.options.grace_s)
    with watch(pool.progress):
        await _run_pool(pool, sent, handle_signals=handle_signals)
    sent.progress = pool.progress()
    sent.stopped = {lane.account.name: lane.stopped for lane in lanes if lane.stopped}
    sent.sending_s = time.monotonic() - begun_s
    return sent


async def _run_pool(pool: Pool, sent: Sent, *, handle_signals: bool) -> None:
    """Run it to its end; what breaks it off is kept, so that a report can still be written."""
    try:
        async with anyio.create_task_group() as tasks:
            if handle_signals:
                await tasks.start(_obey_signals, pool, sent)
            await pool.run()
            tasks.cancel_scope.cancel()
    except* Exception as group:  # noqa: BLE001 - whatever it is, the rows come first
        sent.failure = _first(group)


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


async def _obey_signals(pool: Pool, sent: Sent, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            sent.signal = sent.signal or number
            pool.stop(f"interrupted by {number.name}")


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
        results=ledger.results,
        facts=facts,
        routes={name: jobs.path for name, jobs in prepared.bound.jobs.items()},
        stopped=sent.stopped,
    )
    return write_report(source, prepared.report_folder)


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
            sending_s=round(sent.sending_s, 3),
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
