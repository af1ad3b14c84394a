"""Reads where runs are kept: in a file, or in a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.config.findings import Findings
from pipeline.config.keys import DEFAULT_SCRATCH, REFERENCE, TopLevel, absolute
from pipeline.config.secrets import Secrets
from pipeline.store.kept_store import DatabaseSettings
from pipeline.store.postgres.address import is_database, read_address

FILE_NAME = "ledger.db"
PASSWORD = "ledger_password"  # noqa: S105 - the name of a key
_ONLY_WITH_DATABASE = "is only used if `ledger` is the URL of a database"


class LedgerPlace(NamedTuple):
    """Where runs are kept.

    file      the ledger; with a database, nothing but its folder is used
    database  None: in the file
    """

    file: Path
    database: DatabaseSettings | None


def read_ledger(
    top: TopLevel,
    folder: Path,
    environ: Mapping[str, str],
    max_outages_s: Iterable[float],
    findings: Findings,
) -> LedgerPlace:
    """Read `ledger` and the keys that belong to it. A URL is not shown: it may hold a password.

    max_outages_s  of the accounts: the database may be away for the longest of them
    """
    scratch = absolute(folder, top.scratch or DEFAULT_SCRATCH) / FILE_NAME
    if not is_database(top.ledger):
        for key in ("scratch", PASSWORD):
            if getattr(top, key) is not None:
                findings.add((key,), _ONLY_WITH_DATABASE)
        return LedgerPlace(absolute(folder, top.ledger), None)
    if top.ledger_password is not None and not REFERENCE.fullmatch(top.ledger_password):
        findings.add(
            (PASSWORD,),
            "a password must not be in the configuration itself",
            todo='Put it into an environment variable and write "env:LEDGER_PASSWORD"; '
            '"file:PATH" and "command:PROGRAM ARGUMENTS" work too',
        )
    try:
        address = read_address(top.ledger, environ)
    except ValueError as error:
        findings.add(("ledger",), f"the URL of the database {error}")
        return LedgerPlace(scratch, None)
    read = partial(_password, top.ledger_password, folder, environ, findings.file)
    outage_s = max(max_outages_s, default=None)
    has_reference = top.ledger_password is not None
    settings = DatabaseSettings(address.url, environ, read, outage_s, has_reference)
    return LedgerPlace(scratch, settings)


def _password(
    reference: str | None, folder: Path, environ: Mapping[str, str], file: str
) -> str | None:
    """The password, read now; None if the configuration names none.

    Raises ConfigError, without it, if it cannot be read.
    """
    if reference is None:
        return None
    findings = Findings(file)
    password = Secrets("", folder, environ, findings, table="").read(PASSWORD, reference)
    findings.raise_if_any()
    return password
