"""One run from start to finish: the only place where load, engine, ledger and report meet."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.config import Config, load_config
from pipeline.ledger import Ledger, RunFile
from pipeline.model import ConfigError, InputError, PipelineError, RunAborted
from pipeline.report import Summary
from pipeline.run.facts import report, warnings_about
from pipeline.run.prepare import SAMPLES, Prepared, RunOptions, check_secrets, discard, prepare
from pipeline.run.send import (
    Progress,
    Sent,
    Shared,
    Watch,
    Way,
    send_or_refuse,
    signals_obeyed,
)
from pipeline.vendors import load_vendors

__all__ = [
    "SAMPLES",
    "Prepared",
    "Progress",
    "RunOptions",
    "Shared",
    "Watch",
    "Way",
    "carry_out",
    "check_secrets",
    "discard",
    "prepare",
    "run_file",
    "run_file_async",
    "signals_obeyed",
    "warnings_about",
]


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


async def carry_out(prepared: Prepared, way: Way | None = None) -> Summary:
    """Send what is prepared, unless it is refused, and write the report.

    Raises ConfigError where nothing was sent, ReportError where the report could not be written,
    RunAborted where the run broke off; then, too, there is a report of what had been sent.
    """
    way = way or Way()
    sent = Sent()
    with RunFile(prepared.folder / "results.jsonl") as ledger:
        try:
            with way.shared.interruptible(sent):
                await send_or_refuse(prepared, way, ledger, sent)
        except ConfigError:
            discard(prepared)
            raise
        return await _reported(prepared, sent, ledger)


async def _reported(prepared: Prepared, sent: Sent, ledger: Ledger) -> Summary:
    if sent.failure is None:
        return await anyio.to_thread.run_sync(report, prepared, sent, ledger)
    where = "there is no report"
    with suppress(PipelineError):  # what broke the run off comes first
        await anyio.to_thread.run_sync(report, prepared, sent, ledger)
        where = f"the report is in {prepared.report_folder}"
    why = sent.failure if isinstance(sent.failure, PipelineError) else repr(sent.failure)
    raise RunAborted(f"the run broke off: {why}; {where}") from sent.failure
