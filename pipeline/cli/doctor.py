"""`pipeline doctor`: check the setup and name what to fix."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from pipeline.cli.console import emit, terminal
from pipeline.doctor import Finding, Level, examine
from pipeline.run.event_loop import run_async
from pipeline.vendors import load_vendors

ALL_FINE, SOME_FAULT = 0, 2
STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red"}


@click.command(short_help="Check the setup and name what to fix.")
@click.argument("accounts", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per finding.")
@click.pass_obj
def doctor(config_file: Path | None, /, *, accounts: tuple[str, ...], as_json: bool) -> None:
    """Check configuration, secrets, disk, clock and the vendor of each of ACCOUNTS.

    Nothing is changed: the vendor gets a request for a token if it uses tokens, and one read if it
    can be read. Without ACCOUNTS, all accounts are checked.

    Exit code 0: no fault, maybe warnings; 2: a fault.
    """
    sys.exit(run_async(_examined, config_file, accounts, as_json))


async def _examined(config_file: Path | None, accounts: tuple[str, ...], as_json: bool) -> int:  # noqa: FBT001 - run_async passes no keywords
    console = terminal()
    levels: list[Level] = []
    findings = examine(
        config_file, accounts, environ=os.environ, vendors=load_vendors(), cwd=Path.cwd()
    )
    async for finding in findings:
        levels.append(finding.level)
        if as_json:
            emit(json.dumps({**asdict(finding), "level": finding.level.value}))
        else:
            _tell(console, finding)
    if not as_json:
        faults, warnings = levels.count(Level.FAULT), levels.count(Level.WARNING)
        console.print(f"\nFaults: {faults}. Warnings: {warnings}.")
    return SOME_FAULT if Level.FAULT in levels else ALL_FINE


def _tell(console: Console, finding: Finding) -> None:
    where = f"{finding.account} {finding.check}" if finding.account else finding.check
    line = Text.assemble(
        (f"{finding.level.value:<8}", STYLES[finding.level]), f"{where}: {finding.what}"
    )
    console.print(line, soft_wrap=True)
    if finding.fix:
        console.print(Text(f"        -> {finding.fix}"), soft_wrap=True)
