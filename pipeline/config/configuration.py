"""The configuration, and how it is loaded."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from pipeline.config.accounts import (
    SAMPLE_PREFIX,
    AccountEntry,
    check_files,
    outline,
    read_accounts,
    ready,
)
from pipeline.config.environment import PREFIX, override
from pipeline.config.findings import Findings, checked, did_you_mean, one_of
from pipeline.config.keys import REFERENCE, TopLevel, absolute, known_zone, url_fault
from pipeline.config.ledger import read_ledger
from pipeline.config.output_keys import TABLES, LogKeys, MetricsKeys, NotifyKeys
from pipeline.config.secrets import Secrets
from pipeline.config.shares import check_shares
from pipeline.config.simulated import at_simulator, sample
from pipeline.model import ConfigError, Fault, InputSettings
from pipeline.model.errors import shorten
from pipeline.model.formatting import escaped, is_utf8
from pipeline.model.object_path import ObjectPath, is_object, object_path
from pipeline.store.kept_store import DatabaseSettings, KeptStore
from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.contract import Vendor

DEFAULT_FILE = "pipeline.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The validated configuration. All paths are absolute.

    file            the file that was read; None if there was none and all values are defaults
    folder          base of relative paths, also of those of secrets
    inputs          the drop folder
    reports         the folder of reports
    inputs_bucket, reports_bucket  where they are in object storage; None: on this machine only.
                    Reports are written to `reports` first
    ledger          the file that runs share; each run's own files are in a folder beside it. With
                    a database only that folder is used, for files of this machine
    database        that runs share instead of the file; None: the file
    keep_days       days after which a finished run may be removed
    timezone        of dates without an offset; None: such dates are errors
    accounts        by name
    input_settings  how files are read, by operation
    log, notify, metrics  settings of output, notifications and metrics
    content         of the file, as it was read; None without one
    kept_store      the store of the ledger, once it was opened: see `runs.open_store`
    """

    file: Path | None
    folder: Path
    inputs: Path
    reports: Path
    ledger: Path
    keep_days: int
    timezone: str | None
    accounts: Mapping[str, AccountEntry]
    input_settings: Mapping[str, InputSettings]
    vendors: Mapping[str, Vendor[Any]] = field(repr=False)
    log: LogKeys = field(default_factory=LogKeys)
    notify: NotifyKeys = field(default_factory=NotifyKeys)
    metrics: MetricsKeys = field(default_factory=MetricsKeys)
    database: DatabaseSettings | None = None
    inputs_bucket: ObjectPath | None = None
    reports_bucket: ObjectPath | None = None
    content: bytes | None = field(default=None, repr=False, compare=False)
    kept_store: KeptStore = field(default_factory=KeptStore, repr=False, compare=False)

    @property
    def metrics_file(self) -> Path | None:
        """The file that metrics are written to; None: none is."""
        return None if self.metrics.file is None else absolute(self.folder, self.metrics.file)

    def webhook_url(self, environ: Mapping[str, str]) -> str | None:
        """The URL of the webhook, a secret; None if there is none. It is read now.

        Raises ConfigError, without the URL, if it cannot be read or is not a URL.
        """
        if self.notify.webhook is None:
            return None
        findings = Findings(_label(self.file))
        secrets = Secrets("", self.folder, environ, findings, table="notify")
        url = secrets.read("webhook", self.notify.webhook)
        findings.raise_if_any()
        if wrong := url_fault(url.partition("?")[0]):  # some carry their key in the query
            findings.add(("notify", "webhook"), wrong)
        findings.raise_if_any()
        return url

    def report_place(self, run: str) -> PurePath:
        """The place of a run's report, for people."""
        return (self.reports_bucket or self.reports) / run

    @property
    def ledger_folder(self) -> Path:
        """Where this machine keeps files: the ledger, or with a database those that no other
        machine needs.
        """
        return self.ledger.parent

    def input_for(self, operation: str) -> InputSettings:
        """The settings for reading files of an operation, with the general time zone filled in."""
        settings = self.input_settings.get(operation, InputSettings())
        if settings.timezone is not None:
            return settings
        return settings.model_copy(update={"timezone": self.timezone})

    def outline(self, name: str) -> Account:
        """The account without its secrets: enough to bind rows and to plan, not to send.

        Raises ConfigError if there is no such account.
        """
        return outline(self._entry(name), self.folder)

    def account(self, name: str, environ: Mapping[str, str]) -> Account:
        """The account, ready to send. Its secrets are read now.

        Raises ConfigError, with account and key, if a secret or a file cannot be read.
        """
        return ready(self._entry(name), self.folder, environ, Findings(_label(self.file)))

    def check_files(self, name: str) -> None:
        """Raise ConfigError if a file that the account names for TLS cannot be used."""
        check_files(self._entry(name), self.folder, Findings(_label(self.file)))

    def simulated(self, base_urls: Mapping[str, str]) -> Config:
        """Return the configuration with all accounts at the simulator, and `sample-<vendor>` each.

        base_urls  of the simulator, by vendor; accounts of other vendors are left out

        Quotas are kept; secrets, proxies, certificates and headers are not.
        """
        own = {
            name: at_simulator(entry, base_urls[entry.vendor.name])
            for name, entry in self.accounts.items()
            if entry.vendor.name in base_urls
        }
        samples = {
            SAMPLE_PREFIX + vendor.name: sample(vendor, base_urls[vendor.name])
            for vendor in self.vendors.values()
            if vendor.name in base_urls
        }
        return replace(self, accounts=own | samples)

    def _entry(self, name: str) -> AccountEntry:
        if name in self.accounts:
            return self.accounts[name]
        fault = Fault(
            what=f"there is no account {name!r}",
            file=_label(self.file),
            expected=one_of(self.accounts) if self.accounts else f"a table [accounts.{name}]",
            todo=did_you_mean(name, self.accounts),
        )
        raise ConfigError([fault])


def load_config(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    vendors: Mapping[str, Vendor[Any]],
    cwd: Path,
    content: bytes | None = None,
) -> Config:
    """Load the configuration from `path`, else PIPELINE_CONFIG, else `cwd`/pipeline.toml.

    environ  its variables override keys: PIPELINE_ACCOUNTS__SHOP__IN_FLIGHT=32
    content  of the file, if another process has read it; None: it is read

    Without a file all values are defaults and there are no accounts. Raises ConfigError with every
    fault.
    """
    file = _find(path, environ, cwd)
    folder = file.parent if file else cwd
    findings = Findings(_label(file))
    if file and content is None:
        content = _read(file)
    table = _parsed(content, _label(file)) if content is not None else {}
    override(table, environ, {op.name for v in vendors.values() for op in v.operations}, findings)
    top = checked(TopLevel, table, (), findings) or TopLevel()
    tables = _tables(table, "accounts")
    accounts = dict(read_accounts(tables, vendors, findings))
    check_shares(accounts, folder, findings)
    sources = dict(_read_inputs(_tables(table, "input"), set(tables), vendors, findings))
    output = _output_tables(table, findings)
    outages_s = (entry.keys.max_outage_s for entry in accounts.values())
    ledger, database = read_ledger(top, folder, environ, outages_s, findings)
    config = Config(
        file=file,
        folder=folder,
        inputs=absolute(folder, _local(top.inputs, "inputs")),
        reports=absolute(folder, _local(top.reports, "reports")),
        inputs_bucket=_bucket(top.inputs, "inputs", findings),
        reports_bucket=_bucket(top.reports, "reports", findings),
        ledger=ledger,
        database=database,
        keep_days=top.keep_days,
        timezone=top.timezone,
        accounts=accounts,
        input_settings=sources,
        vendors=vendors,
        content=content,
        **output,
    )
    _check_folders(config, findings)
    findings.raise_if_any()
    return config


def _local(text: str, default: str) -> str:
    """The local folder of a key: the default one if the key names a bucket."""
    return default if is_object(text) else text


def _bucket(text: str, key: str, findings: Findings) -> ObjectPath | None:
    """The place in object storage that a key names; None if it names a local folder."""
    if not is_object(text):
        return None
    try:
        return object_path(text)
    except ValueError as error:
        findings.add((key,), str(error))
        return None


def _output_tables(table: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    """Read [log], [notify] and [metrics]."""
    found: dict[str, Any] = {}
    for name, keys in TABLES.items():
        given = table.get(name, {})
        if isinstance(given, dict):  # else TopLevel has added the fault
            found[name] = checked(keys, given, (name,), findings) or keys()
    notify = found.get("notify")
    if notify and notify.webhook is not None and not REFERENCE.fullmatch(notify.webhook):
        findings.add(
            ("notify", "webhook"),
            "the URL is a secret and must not be in the configuration itself",
            todo='Put it into an environment variable and write webhook = "env:WEBHOOK_URL"; '
            '"file:PATH" works too',
        )
    return found


def _find(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = path or environ.get(f"{PREFIX}CONFIG") or None
    if named is not None:
        return cwd / named
    default = cwd / DEFAULT_FILE
    try:
        return default if default.exists() else None
    except OSError:  # reading it raises with a message
        return default


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        what = f"the configuration cannot be read: {error.strerror}"
        raise ConfigError(Fault(what=what, file=_label(file))) from None


def _parsed(content: bytes, shown: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"(.*) \(at line (\d+), column (\d+)\)", str(error))
        line = int(found[2]) if found else None
        what = f"not TOML: {found[1]} (column {found[3]})" if found else f"not TOML: {error}"
        raise ConfigError(Fault(what=what, file=shown, line=line)) from None
    except UnicodeDecodeError:
        what, todo = "not UTF-8 text", f"Save it as UTF-8, or: iconv -f LATIN1 -t UTF-8 {shown}"
        raise ConfigError(Fault(what=what, file=shown, todo=todo)) from None
    except (RecursionError, ValueError):  # of tomllib: lists in lists, thousands of digits
        what = "contains a number that is too long, or is nested too deeply"
        raise ConfigError(Fault(what=what, file=shown)) from None


def _label(file: Path | None) -> str:
    return str(file) if file else "the configuration"


def _tables(table: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """The tables below `key`. `TopLevel` adds the fault for anything else there."""
    below = table.get(key)
    tables = below.items() if isinstance(below, dict) else ()
    return {name: values for name, values in tables if isinstance(values, dict)}


def _check_folders(config: Config, findings: Findings) -> None:
    ledger, reports, inputs = config.ledger_folder, config.reports, config.inputs
    kept = "ledger" if config.database is None else "scratch"
    for key, path in ((kept, ledger), ("reports", reports), ("inputs", inputs)):
        if not is_utf8(str(path)):
            findings.add(
                (key,),
                f"its path is not UTF-8: {escaped(str(path))}",
                todo="Rename the folder, or name another one",
            )
            break  # the others are most often in the same folder
    for key, path, above, why in (
        (kept, ledger, reports, "below reports, which people empty"),
        (kept, ledger, inputs, "below inputs, where files are taken from"),
        ("reports", reports, inputs, "below inputs, where files are taken from"),
    ):
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(above)):
            findings.add((key,), f"must not be {why}", value=shorten(str(path)))


def _read_inputs(
    tables: Mapping[str, dict[str, Any]],
    accounts: set[str],
    vendors: Mapping[str, Vendor[Any]],
    findings: Findings,
) -> Iterator[tuple[str, InputSettings]]:
    operations = {op.name for vendor in vendors.values() for op in vendor.operations}
    for name, values in tables.items():
        path = ("input", name)
        if name not in operations:
            todo = did_you_mean(name, operations)
            expected = one_of(operations)
            findings.add(path, "there is no such operation", expected=expected, todo=todo)
        settings = checked(InputSettings, values, path, findings)
        if settings is None:
            continue
        for account in set(settings.accounts or ()) - accounts:
            what = f"there is no account {account!r}"
            findings.add((*path, "accounts"), what, todo=did_you_mean(account, accounts))
        if settings.timezone is not None:
            _add_zone_fault(settings.timezone, (*path, "timezone"), findings)
        yield name, settings


def _add_zone_fault(name: str, path: tuple[str, ...], findings: Findings) -> None:
    try:
        known_zone(name)
    except ValueError as error:
        findings.add(path, str(error), value=shorten(name))
