"""Checks that accounts can be sent in shares: the limits of the shares add up to theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pydantic import SecretStr

from pipeline.config.accounts import AccountEntry, outline
from pipeline.config.findings import Findings
from pipeline.config.secrets import secret_keys
from pipeline.vendors.kit.account import Account, credential_text

_Credential = tuple[str, str, str]
"""Vendor, origin, and user, token or client, with references in place of secrets."""


def check_shares(entries: Mapping[str, AccountEntry], folder: Path, findings: Findings) -> None:
    """Add a fault for each account that cannot be sent in as many shares as it says.

    folder  of the configuration
    """
    if all(entry.keys.shares == 1 for entry in entries.values()):
        return
    first: dict[_Credential, Account] = {}
    for name, entry in entries.items():
        account = outline(entry, folder)
        for what, todo in _faults(account):
            findings.add(("accounts", name, "shares"), what, value=str(account.shares), todo=todo)
    if findings.faults:  # an address may be none
        return
    for name, entry in entries.items():
        account = outline(entry, folder)
        other = first.setdefault(_credential(entry), account)
        if unlike := unlike_shares(account, other):
            findings.add(("accounts", name, "shares"), unlike)


def unlike_shares(account: Account, other: Account) -> str:
    """How two accounts of one credential differ in what each share may use; empty if they do not.

    Share 1 of both sends at the same part of the same quota, and so on.
    """
    if account.shares == other.shares == 1:
        return ""
    for what, one, two in (
        ("shares", account.shares, other.shares),
        ("quota", account.quota, other.quota),
        ("pacing", account.is_strict, other.is_strict),
        ("day_starts", account.day_starts_s, other.day_starts_s),
    ):
        if one != two:
            return (
                f"{account.name} and {other.name} have one credential, and so one quota, and need "
                f"the same {what} in both"
            )
    return ""


def of_one_credential(entries: Mapping[str, AccountEntry], names: Collection[str]) -> set[str]:
    """The names of all accounts whose credential is that of one of `names`."""
    wanted = {_credential(entries[name]) for name in names}
    return {name for name, entry in entries.items() if _credential(entry) in wanted}


def _faults(account: Account) -> Iterator[tuple[str, str]]:
    """The fault, and its remedy."""
    shares = account.shares
    if shares == 1:
        return
    if not account.quotas:
        yield "a learned quota cannot be divided", 'State a quota other than "auto"'
    given = " (the default)" if account.is_assumed else ""
    for quota in account.quotas:
        if quota.limit < shares:
            yield (
                f"quota {quota}{given} is too small: each share needs at least one request of it",
                f"At most shares = {quota.limit}",
            )
    if account.in_flight < shares:
        yield (
            f"in_flight = {account.in_flight} is too small: each share needs at least 1",
            f"At least in_flight = {shares}",
        )


def _credential(entry: AccountEntry) -> _Credential:
    """The identity that a vendor counts requests by, as far as it is known without secrets."""
    secrets = secret_keys(entry.vendor)
    given = {k: SecretStr(str(v)) if k in secrets else v for k, v in entry.given.items()}
    settings = entry.vendor.settings.model_validate(given)
    signs = entry.vendor.authenticate(settings)
    return entry.vendor.name, settings.origin, credential_text(signs)
