"""Who signs in for the accounts of a run: whoever carries it on must be the same.

Known only once secrets are read, so it is put on record before the first row is sent and not when
the run is prepared. A run that was sent before this was on record takes the next one for its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from pipeline.model import ConfigError, Fault
from pipeline.run.prepare import Prepared
from pipeline.runs.registry import open_registry
from pipeline.vendors import NAMES_OF_CREDENTIALS, Account, Basic


def credential_of(account: Account) -> str | None:
    """A digest of what names the credential of an account whose secrets are read.

    That is a client id or a user, which stay while passwords, secrets and tokens are renewed. None
    where nothing names it, as a ready token alone does not, and at the simulator.
    """
    if account.is_simulated:
        return None
    settings = account.settings
    names = [getattr(settings, name, None) for name in NAMES_OF_CREDENTIALS]
    if isinstance(signs := account.vendor.authenticate(settings), Basic):
        names.append(signs.user)
    who = next((name for name in names if name is not None), None)
    if who is None:
        return None
    text = who.get_secret_value() if isinstance(who, SecretStr) else str(who)
    return hashlib.sha256(f"{account.vendor.name}|{text}".encode()).hexdigest()[:16]


def check_secrets(prepared: Prepared, environ: Mapping[str, str]) -> None:
    """Raise ConfigError where an account cannot be used: better before a person is asked."""
    if prepared.refusal is None:
        _found(prepared, [prepared.config.account(name, environ) for name in prepared.bound.jobs])


def keep_credentials(prepared: Prepared, accounts: Sequence[Account]) -> None:
    """Put on record who signs in from now on, before anything is sent.

    Raises ConfigError where others began the run, RunAborted where the disk refuses.
    """
    found = _found(prepared, accounts)
    if found.items() <= prepared.credentials.items():
        return
    with open_registry(prepared.config) as runs:
        runs.keep_credentials(prepared.run, found)


def _found(prepared: Prepared, accounts: Sequence[Account]) -> dict[str, str]:
    """Who signs in, by account. Raises ConfigError where that is not who began the run."""
    named = ((account.name, credential_of(account)) for account in accounts)
    found = {name: credential for name, credential in named if credential is not None}
    faults = [
        Fault(
            what=f"account {name} signs in as somebody else than run {prepared.run} began with",
            todo="Carry it on with the client id, user or merchant that it began with (a new "
            "password, secret or token does no harm), or send the file as a new run: "
            "--force-order",
        )
        for name, credential in found.items()
        if prepared.credentials.get(name, credential) != credential
    ]
    if faults:
        raise ConfigError(faults)
    return found
