"""Reads the tables of the accounts, and builds accounts from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipeline.config.environment import normal
from pipeline.config.findings import Findings, checked, did_you_mean, one_of, place
from pipeline.config.keys import AUTO, REFERENCE, AccountKeys, absolute, proxy_fault, url_fault
from pipeline.config.secrets import Secrets, secret_keys
from pipeline.model import ConfigError, Link
from pipeline.model.errors import shorten
from pipeline.model.quota import UNITS_S, Quota, parse_quota
from pipeline.model.retry import RetryPolicy
from pipeline.model.wire import header_fault
from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.contract import Vendor, VendorSettings

SAMPLE_PREFIX = "sample-"

_ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # also a part of file names
_UNREAD = SecretStr("a reference that was not read")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEntry:
    """One account as configured, without its secrets.

    settings      validated; secrets are placeholders, so that rows can be bound without them
    given         the vendor's settings as written, secrets as references
    is_simulated  True if the base URL is the simulator's; `settings` are then complete
    """

    name: str
    vendor: Vendor[Any]
    settings: VendorSettings
    keys: AccountKeys
    given: Mapping[str, Any] = field(repr=False)
    is_simulated: bool = False


def read_accounts(
    tables: Mapping[str, dict[str, Any]],
    vendors: Mapping[str, Vendor[Any]],
    findings: Findings,
) -> Iterator[tuple[str, AccountEntry]]:
    """Yield the accounts of the file, by name. Faults go to `findings`."""
    seen: dict[str, str] = {}
    for name, values in tables.items():
        twin = seen.setdefault(normal(name), name)
        wrong = _name_fault(name) if twin == name else f"is too similar to {twin!r}"
        if wrong:
            findings.add(("accounts", name), wrong)
        entry = _entry(name, values, vendors, findings)
        if entry:
            yield name, entry


_FORMER_KEYS = {"guard": "preconditions"}
"""Keys of version 0.1 and their names since: configurations keep them."""


def _name_now(key: str, own: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The name of a key of 0.1 since; unchanged, and so refused, if both names are given."""
    now = _FORMER_KEYS.get(key, key)
    return now if now in own and now not in values else key


def _name_fault(name: str) -> str | None:
    if name.lower().startswith(SAMPLE_PREFIX):
        return f"names that start with {SAMPLE_PREFIX} are reserved for samples; choose another"
    if not _ACCOUNT_NAME.fullmatch(name):
        return "an account's name has at most 64 characters: letters, digits, - and _"
    return None


def _entry(
    name: str,
    values: Mapping[str, Any],
    vendors: Mapping[str, Vendor[Any]],
    findings: Findings,
) -> AccountEntry | None:
    path = ("accounts", name)
    vendor = vendors.get(str(values.get("vendor")))
    own = vendor.settings.model_fields if vendor else {}
    values = {_name_now(key, own, values): value for key, value in values.items()}
    given = {key: value for key, value in values.items() if key in own}
    general = {key: v for key, v in values.items() if key not in own and key != "verify"}
    if "verify" in values:
        findings.add(
            (*path, "verify"),
            "certificates are always verified",
            todo='Trust the server\'s own authority instead: ca_file = "/path/to/ca.pem"',
        )
    if vendor is None:
        general = {key: v for key, v in general.items() if key in AccountKeys.model_fields}
    keys = checked(AccountKeys, general, path, findings, known=own)
    if vendor is None:
        _add_vendor_fault(values, path, vendors, findings)
        return None
    settings = checked(vendor.settings, _unread(vendor, given, path, findings), path, findings)
    if keys is None or settings is None:
        return None
    if wrong := url_fault(settings.base_url, allow_http=keys.allow_http):
        findings.add((*path, "base_url"), wrong)
    if keys.client_key and not keys.client_cert:
        findings.add((*path, "client_key"), "needs a client_cert")
    _check_pacing(keys, path, findings)
    return AccountEntry(name=name, vendor=vendor, settings=settings, keys=keys, given=given)


def _check_pacing(keys: AccountKeys, path: tuple[str, ...], findings: Findings) -> None:
    """Add faults for keys about a quota if the account has no such quota."""
    if keys.day_starts is not None and not any(
        quota.per_s == UNITS_S["day"] for quota in keys.quota or ()
    ):
        findings.add((*path, "day_starts"), 'needs a quota per day, such as quota = "50000/day"')
    if keys.pacing == "strict" and keys.quota == ():
        findings.add((*path, "pacing"), '"strict" needs a quota other than "auto"')


def _add_vendor_fault(
    values: Mapping[str, Any],
    path: tuple[str, ...],
    vendors: Mapping[str, Vendor[Any]],
    findings: Findings,
) -> None:
    given = values.get("vendor")
    if isinstance(given, str):
        what, todo = "there is no such vendor", did_you_mean(given, vendors)
        value, expected = shorten(given), one_of(vendors)
        findings.add((*path, "vendor"), what, value=value, expected=expected, todo=todo)


def _unread(
    vendor: Vendor[Any], given: Mapping[str, Any], path: tuple[str, ...], findings: Findings
) -> dict[str, Any]:
    """The vendor's settings with placeholders for secrets. Secrets must be references."""
    secrets = secret_keys(vendor)
    for key in secrets & given.keys():
        value = given[key]
        if not isinstance(value, str) or not REFERENCE.fullmatch(value):
            variable = f"{vendor.name}_{key}".upper()
            findings.add(
                (*path, key),
                "a secret must not be in the configuration itself",
                todo=f'Put it into an environment variable and write {key} = "env:{variable}"; '
                '"file:PATH" and "command:PROGRAM ARGUMENTS" work too',
            )
    return {key: _UNREAD if key in secrets else value for key, value in given.items()}


def outline(entry: AccountEntry, folder: Path) -> Account:
    """The account without its secrets: enough to bind rows and to plan, not to send."""
    return _account(entry, folder, entry.settings, entry.keys.proxy, entry.keys.headers)


def ready(
    entry: AccountEntry, folder: Path, environ: Mapping[str, str], findings: Findings
) -> Account:
    """The account, ready to send. Its secrets are read now.

    Raises ConfigError if a secret or a file cannot be read.
    """
    if entry.is_simulated:
        return outline(entry, folder)
    path = ("accounts", entry.name)
    secrets = Secrets(entry.name, folder, environ, findings)
    hidden = secret_keys(entry.vendor)
    given = {
        key: SecretStr(secrets.read(key, value)) if key in hidden else value
        for key, value in entry.given.items()
    }
    headers = {k: secrets.maybe(f"headers.{k}", v) for k, v in entry.keys.headers.items()}
    proxy = entry.keys.proxy and secrets.maybe("proxy", entry.keys.proxy)
    if proxy and (wrong := proxy_fault(proxy, may_name_user=True)):
        findings.add((*path, "proxy"), wrong)
    for header in headers.items():  # values from references are checked here for the first time
        if wrong := header_fault(*header):
            findings.add((*path, "headers"), wrong)
    _add_file_faults(entry, folder, findings)
    findings.raise_if_any()
    settings = checked(entry.vendor.settings, given, path, findings)
    findings.raise_if_any()
    account = _account(entry, folder, settings or entry.settings, proxy, headers)
    read = (headers[name] for name, given in entry.keys.headers.items() if headers[name] != given)
    return replace(account, hidden=tuple(map(SecretStr, read)))


def _account(
    entry: AccountEntry,
    folder: Path,
    settings: VendorSettings,
    proxy: str | None,
    headers: Mapping[str, str],
) -> Account:
    keys, defaults = entry.keys, [operation.defaults for operation in entry.vendor.operations]
    link = Link(
        base_url=settings.base_url.rstrip("/"),
        timeout_s=keys.timeout_s or max(d.timeout_s for d in defaults),
        ca_file=_path(folder, keys.ca_file),
        client_cert=_path(folder, keys.client_cert),
        client_key=_path(folder, keys.client_key),
        proxy=proxy,
        headers=dict(headers),
        tls=keys.tls,
    )
    if keys.connect_timeout_s is not None:
        link = replace(link, connect_timeout_s=keys.connect_timeout_s)
    assumed = _most_cautious(d.quota for d in defaults)
    return Account(
        name=entry.name,
        vendor=entry.vendor,
        settings=settings,
        link=link,
        quotas=assumed if keys.quota is None else keys.quota,
        is_assumed=keys.quota is None,
        in_flight=keys.in_flight or min(d.in_flight for d in defaults),
        retry=RetryPolicy() if keys.attempts is None else RetryPolicy(max_attempts=keys.attempts),
        starts_per_s=min(quota.per_second for quota in assumed),
        is_strict=keys.pacing == "strict",
        day_starts_s=keys.day_starts,
        max_wait_s=keys.max_wait_s,
        max_outage_s=keys.max_outage_s,
        is_simulated=entry.is_simulated,
        shares=keys.shares,
    )


def _path(folder: Path, text: str | None) -> Path | None:
    return None if text is None else absolute(folder, text)


def _most_cautious(defaults: Iterable[tuple[str, ...]]) -> tuple[Quota, ...]:
    """The smallest quota for each length of window; all of them apply.

    >>> _most_cautious([("10/s", "100/min"), ("5/s",)])
    (Quota(limit=5, per_s=1.0, is_burst=False), Quota(limit=100, per_s=60.0, is_burst=False))
    """
    smallest: dict[float, Quota] = {}
    for quota in (parse_quota(text) for quotas in defaults for text in quotas):
        known = smallest.setdefault(quota.per_s, quota)
        smallest[quota.per_s] = min(known, quota, key=lambda q: q.limit)
    return tuple(smallest.values())


def check_files(entry: AccountEntry, folder: Path, findings: Findings) -> None:
    """Raise ConfigError if a file that the account names for TLS cannot be used."""
    _add_file_faults(entry, folder, findings)
    findings.raise_if_any()


def _add_file_faults(entry: AccountEntry, folder: Path, findings: Findings) -> None:
    keys = entry.keys
    if not (keys.ca_file or keys.client_cert or keys.client_key):
        return
    from pipeline.http_client.tls import tls_context  # noqa: PLC0415 - few accounts name files

    link = Link(
        base_url=entry.settings.base_url,
        ca_file=_path(folder, keys.ca_file),
        client_cert=_path(folder, keys.client_cert),
        client_key=_path(folder, keys.client_key),
    )
    try:
        tls_context(link)
    except ConfigError as error:
        table = place(("accounts", entry.name))
        findings.faults += [replace(each, what=f"{table} {each.what}") for each in error.faults]


def public_settings(account: Account) -> dict[str, Any]:
    """The settings of an account as JSON values, without secrets and values of headers."""
    link = account.link
    return {
        "name": account.name,
        "vendor": account.vendor.name,
        **account.settings.model_dump(mode="json", exclude=secret_keys(account.vendor)),
        "quota": [str(quota) for quota in account.quotas] or AUTO,
        "quota_is_assumed": account.is_assumed,
        "pacing": "strict" if account.is_strict else "even",
        "day_starts": _day_starts(account),
        "in_flight": account.in_flight,
        "shares": account.shares,
        "attempts": account.retry.max_attempts,
        "timeout_s": link.timeout_s,
        "connect_timeout_s": link.connect_timeout_s,
        "max_wait_s": account.max_wait_s,
        "max_outage_s": account.max_outage_s,
        "tls": link.tls,
        "ca_file": link.ca_file and str(link.ca_file),
        "client_cert": link.client_cert and str(link.client_cert),
        "proxy": link.proxy and _without_user(link.proxy),
        "headers": sorted(link.headers),
        "is_simulated": account.is_simulated,
    }


def _day_starts(account: Account) -> str | None:
    """The start of the vendor's day in UTC; None if any 24 hours count."""
    if account.day_starts_s is None:
        return None
    minutes, seconds = divmod(round(account.day_starts_s), 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{seconds:02}Z" if seconds else f"{text}Z"


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
