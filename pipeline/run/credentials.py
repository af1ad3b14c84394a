"""Checks that a run is resumed with the credentials that it began with.

Credentials are known only once secrets are read. So they are recorded before the first row is sent,
not when the run is prepared. A run of an earlier version, which recorded none, adopts the next
ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from pipeline.model import ConfigError, Fault
from pipeline.run.prepared import Prepared
from pipeline.runs.registry import open_store
from pipeline.vendors import NAMES_OF_CREDENTIALS, Account, Basic


def credential_of(account: Account) -> str | None:
    """A digest of the name of an account's credential; its secrets must have been read.

    The name is a client id or a user, which stay the same if passwords, secrets or tokens are
    renewed. None at the simulator, and if there is no name, as for a ready token.
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
    """Raise ConfigError if an account cannot be used, before a person is asked."""
    if prepared.refusal is None:
        _found(prepared, [prepared.config.account(name, environ) for name in prepared.bound.jobs])


def keep_credentials(prepared: Prepared, accounts: Sequence[Account]) -> None:
    """Record the credentials of a run before anything is sent.

    Raises ConfigError if the run began with others, RunAborted if the registry cannot be written.
    """
    found = _found(prepared, accounts)
    if found.items() <= prepared.credentials.items():
        return
    open_store(prepared.config).runs.keep_credentials(prepared.run, found)


def _found(prepared: Prepared, accounts: Sequence[Account]) -> dict[str, str]:
    """Account -> credential. Raises ConfigError if the run began with another one."""
    named = ((account.name, credential_of(account)) for account in accounts)
    found = {name: credential for name, credential in named if credential is not None}
    faults = [
        Fault(
            what=f"account {name} signs in as somebody else than run {prepared.run} began with",
            todo="Resume it with the client id, user or merchant that it began with (a new "
            "password, secret or token is fine), or send the file as a new run: "
            "--force-order",
        )
        for name, credential in found.items()
        if prepared.credentials.get(name, credential) != credential
    ]
    if faults:
        raise ConfigError(faults)
    return found
