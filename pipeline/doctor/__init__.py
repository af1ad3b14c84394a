"""Checks of the set-up that change nothing, on this machine and at the vendors.

Not here: checks that a run makes before its first request (`run`) and how findings are printed
(`cli`).
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from pipeline.config import Config, load_config
from pipeline.doctor.buckets import examine_buckets
from pipeline.doctor.finding import Finding, Level, of_faults
from pipeline.doctor.machine import examine_machine, examine_secret_files
from pipeline.doctor.wire import IN_LINK, examine_account
from pipeline.model import ConfigError, RunAborted
from pipeline.pacing.pause import describe, lift_command, remaining_s
from pipeline.run.pauses import pause_on_record
from pipeline.store.kept_store import INSTALL, NO_LIBRARY, DatabaseSettings
from pipeline.vendors import Account
from pipeline.vendors.kit.contract import Vendor

__all__ = ["Finding", "Level", "examine"]

_IN_FILE = "Correct the configuration; docs/reference/configuration.md has every key"
_IN_SECRETS = "Put the secret where the reference says, or correct the reference"


async def examine(
    path: Path | None,
    accounts: Sequence[str],
    *,
    environ: Mapping[str, str],
    vendors: Mapping[str, Vendor[Any]],
    cwd: Path,
    now_s: Callable[[], float] = time.time,
) -> AsyncIterator[Finding]:
    """Yield every finding; a check comes after the checks that it depends on.

    path      the configuration file; None: where every command finds it
    accounts  only these; empty: all
    now_s     UTC seconds since 1970

    Faults of the set-up become findings and raise nothing.
    """
    try:
        config = load_config(path, environ=environ, vendors=vendors, cwd=cwd)
        for name in accounts:
            config.outline(name)
    except ConfigError as error:
        for finding in of_faults(error.faults, "configuration", _IN_FILE):
            yield finding
        return
    yield _accounts(config)
    for finding in examine_machine(config, environ):
        yield finding
    found = [] if config.database is None else _examine_database(config.database)
    for finding in found:
        yield finding
    is_recorded = (
        os.access(config.ledger, os.F_OK) if config.database is None else _has_tables(found)
    )
    for finding in await anyio.to_thread.run_sync(lambda: list(examine_buckets(config, environ))):
        yield finding
    for name in dict.fromkeys(accounts or config.accounts):
        async for finding in _account(config, name, environ, now_s, is_recorded=is_recorded):
            yield finding
    config.kept_store.close()


def _examine_database(settings: DatabaseSettings) -> list[Finding]:
    try:  # only who keeps runs in a database has installed it
        from pipeline.doctor.database import examine_database  # noqa: PLC0415
    except ImportError as error:
        what = f"{NO_LIBRARY}: {error}"
        return [Finding(level=Level.FAULT, check="database", what=what, fix=INSTALL)]
    try:
        password = settings.password()
    except ConfigError as error:
        return [*of_faults(error.faults, "database", _IN_SECRETS)]
    return [*examine_database(settings.url, settings.environ, password)]


def _has_tables(found: Sequence[Finding]) -> bool:
    """True if a database can be asked what runs have recorded, which changes nothing in it."""
    if any(each.level is Level.FAULT for each in found):
        return False
    from pipeline.doctor.database import READY  # noqa: PLC0415 - as above

    return any(each.what == READY for each in found)


def _accounts(config: Config) -> Finding:
    if config.accounts:
        what = f"{config.file or 'the environment'} is valid"
        return Finding(level=Level.OK, check="configuration", what=what)
    what, fix = "there is no account, so only --simulate can work", "Begin with: pipeline init"
    return Finding(level=Level.WARNING, check="configuration", what=what, fix=fix)


async def _account(
    config: Config,
    name: str,
    environ: Mapping[str, str],
    now_s: Callable[[], float],
    *,
    is_recorded: bool,
) -> AsyncIterator[Finding]:
    for finding in examine_secret_files(config, name):
        yield finding
    try:
        config.check_files(name)
    except ConfigError as error:
        for finding in of_faults(error.faults, "tls", IN_LINK, name):
            yield finding
        return
    try:
        account = config.account(name, environ)
    except ConfigError as error:
        for finding in of_faults(error.faults, "secrets", _IN_SECRETS, name):
            yield finding
        return
    yield Finding(level=Level.OK, check="secrets", what="all can be read", account=name)
    if account.shares > 1:
        yield _shares(account)
    for doubt in account.vendor.doubts(account.settings):
        yield Finding(
            level=Level.WARNING,
            check="vendor",
            what=doubt.what,
            fix=doubt.advice,
            account=name,
        )
    paused = _pause(config, account, environ, now_s()) if is_recorded else None
    if paused is not None:
        yield paused
    async for finding in examine_account(account, now_s):
        yield finding


def _shares(account: Account) -> Finding:
    """The quota of the smallest share of an account."""
    part = account.part(0)
    what = f"{account.shares}, each of at least {part.quota} and {part.in_flight} in flight"
    return Finding(level=Level.OK, check="shares", what=what, account=account.name)


def _pause(
    config: Config, account: Account, environ: Mapping[str, str], now_s: float
) -> Finding | None:
    """The vendor's pause that the account has to wait for; None if there is none."""
    try:
        pause = pause_on_record(config, account.name, environ, now_s)
    except RunAborted:  # disk and database have checks of their own
        return None
    if pause is None:
        return None
    most_s = account.max_wait_s
    does = "stops at once" if remaining_s(pause, now_s) > most_s else "waits for that"
    return Finding(
        level=Level.WARNING,
        check="pause",
        what=f"paused {describe(pause, now_s)}. A run {does} (max_wait_s = {most_s:.0f})",
        fix=f"Wait. If the vendor cannot have meant it: {lift_command(account.name)}",
        account=account.name,
    )
