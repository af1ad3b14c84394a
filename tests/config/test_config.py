"""Accounts, quotas and paths, from the file and the environment."""

import json
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, model_validator

from pipeline.config import Config, load_config, public_settings
from pipeline.config.keys import proxy_fault, url_fault
from pipeline.http_client.transport import Transport
from pipeline.model import ConfigError, InputSettings, Link, Request
from pipeline.model.quota import Quota
from pipeline.vendors import (
    Authentication,
    Basic,
    Defaults,
    TokenCall,
    VendorSettings,
    load_vendors,
)
from tests import acme
from tests.http_client.tls_files import Authority

SECRET = "s3cr3t-value"
SHOP = """
[accounts.shop]
vendor = "acme"
project_id = 7
api_key = "env:ACME_KEY"
"""


DAY = "quota = '50/day'\n"
SHARED = SHOP + "shares = 4\n" + SHOP.replace("shop", "twin")


class AcmeSettings(VendorSettings):
    base_url: str = "https://acme.example/api"
    project_id: int
    api_key: SecretStr
    backup_key: SecretStr | None = None


def operation(name: str, quota: tuple[str, ...], in_flight: int, timeout_s: float) -> Any:
    return replace(acme.PRICE, name=name, defaults=Defaults(quota, in_flight, timeout_s))


ACME = replace(
    acme.ACME,
    settings=AcmeSettings,
    authenticate=lambda s: Basic(str(s.project_id), s.api_key),
    operations=(
        operation("acme.price", ("10/s", "100/min"), 8, 30.0),
        operation("acme.stock", ("5/s",), 4, 65.0),
    ),
    scope=lambda _s: "",
    simulated={"project_id": 1, "api_key": "simulator-key"},
)
OTHER = replace(ACME, name="other")
VENDORS = {"acme": ACME, "other": OTHER}


def load(folder: Path, text: str | None = None, **environ: str) -> Config:
    if text is not None:
        (folder / "pipeline.toml").write_text(text)
    return load_config(None, environ=environ, vendors=VENDORS, cwd=folder)


def faults(folder: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **environ)
    return str(caught.value)


# Where it is read


def test_keys_of_version_0_1_keep_their_meaning(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text(
        """
[notify]
on = ["gate", "end"]
[accounts.offers]
vendor = "adobe"
api = "dps"
ims_org = "AAAABBBBCCCCDDDDEEEEFFFF@AdobeOrg"
sandbox_name = "prod"
client_id = "env:ID"
access_token = "env:TOKEN"
guard = false
"""
    )
    config = load_config(None, environ={}, vendors=load_vendors(), cwd=tmp_path)
    assert config.notify.on == ("stopped", "end")
    assert config.accounts["offers"].settings.preconditions is False
    with (tmp_path / "pipeline.toml").open("a") as file:
        file.write("preconditions = true\n")
    with pytest.raises(ConfigError, match="guard: unknown key"):
        load_config(None, environ={}, vendors=load_vendors(), cwd=tmp_path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.file is None
    assert not config.accounts
    assert config.inputs == tmp_path / "inputs"
    assert config.reports == tmp_path / "reports"
    assert config.ledger_folder == tmp_path / ".pipeline"
    assert config.timezone is None
    assert config.keep_days == 90


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "mine.toml").write_text('inputs = "drop"\nledger = "/var/lib/p/ledger.db"')
    config = load(tmp_path, 'inputs = "not this"', PIPELINE_CONFIG="etc/mine.toml")
    assert config.inputs == tmp_path / "etc" / "drop"
    assert config.ledger_folder == Path("/var/lib/p")


def test_runs_may_be_kept_in_a_database(tmp_path: Path) -> None:
    url = "postgresql://pipeline@db.example/offers"
    toml = f'ledger = "{url}"\nledger_password = "env:DATABASE_KEY"\nscratch = "local"'
    config = load(tmp_path, toml, DATABASE_KEY="hunter2")
    assert config.database is not None
    assert config.database.url == url
    assert config.database.password() == "hunter2"
    assert config.ledger_folder == tmp_path / "local"
    assert "hunter2" not in repr(config)
    config = load(tmp_path, toml)
    assert config.database is not None
    with pytest.raises(ConfigError, match="ledger_password: the environment variable DATABASE_KEY"):
        config.database.password()


def test_an_argument_goes_before_the_variable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(f'inputs = "{name}"')
    environ = {"PIPELINE_CONFIG": "b.toml"}
    named = load_config(Path("a.toml"), environ=environ, vendors=VENDORS, cwd=tmp_path)
    assert named.inputs == tmp_path / "a"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"timezone = \n", r"pipeline\.toml, line 1: not TOML: Invalid value"),
        (b"a = 1\n\na = 2\n", r"pipeline\.toml, line 3: not TOML"),
        (b"inputs = 'caf\xe9'", "not UTF-8 text"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "pipeline.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        load_config(Path("pipeline.toml"), environ={}, vendors=VENDORS, cwd=tmp_path)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + SHOP).accounts.keys() == {"shop"}


# What is wrong with it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # top level
        ("timzone = 'UTC'", "timzone: unknown key. Did you mean timezone?"),
        ("timezone = 'Europe/Berlyn'", "timezone: is not a known time zone"),
        ("timezone = 'Europe'", "timezone: is not a known time zone"),  # a folder of the database
        ("keep_days = 0", "keep_days: should be greater than or equal to 1: 0"),
        ("keep_days = 36501", "keep_days: should be less than or equal to 36500"),  # no such date
        ("keep_days = '90'", "keep_days: should be a valid integer"),
        ("keep_day = 90", "keep_day: unknown key. Did you mean keep_days?"),
        ("inputs = 3", "inputs: should be a text: 3"),
        ("accounts = 3", "accounts: should be a table: 3"),
        ("accounts.shop = 3", "[accounts.shop]: should be a table: 3"),
        ("ledger = 'reports/ledger.db'", "ledger: must not be below reports"),
        (
            "ledger = 'postgresql://me:hunter2@db.example/x'",
            "ledger: the URL of the database must hold no password",
        ),
        ("ledger = 'postgresql://db.example/x?sslmode=require'", "expected verify-full"),
        (
            "ledger = 'postgresql://db.example/x'\nledger_password = 'hunter2'",
            "ledger_password: a password must not be in the configuration itself",
        ),
        ("ledger_password = 'env:SECRET'", "ledger_password: is only used if `ledger` is the URL"),
        ("scratch = '/tmp'", "scratch: is only used if `ledger` is the URL"),
        ("ledger = 'postgresql:///x'\nscratch = 'inputs/x'", "scratch: must not be below inputs"),
        ("reports = 'inputs/reports'", "reports: must not be below inputs"),
        # the account
        ("[accounts.shop]", "[accounts.shop] vendor: is missing"),
        ("[accounts.shop]\nvendor = 'acm'", "one of acme, other. Did you mean acme?"),
        ("[accounts.shop]\nvendor = 'acme'", "[accounts.shop] project_id: is missing"),
        (SHOP + "in_flght = 3", "[accounts.shop] in_flght: unknown key. Did you mean in_flight?"),
        (
            SHOP + "projectid = 3",
            "projectid: unknown key. Did you mean project_id?",
        ),
        (SHOP + "verify = false", "ca_file"),
        (SHOP.replace("shop", "sample-acme"), "are reserved for samples"),
        (SHOP.replace("shop", '"a/b"'), '[accounts."a/b"]: an account\'s name'),
        (SHOP + SHOP.replace("shop", "Shop"), "is too similar to 'shop'"),
        # ranges
        (SHOP + "in_flight = 0", "in_flight: should be greater than or equal to 1: 0"),
        (SHOP + "in_flight = 10001", "should be less than or equal to 10000"),
        (SHOP + "in_flight = true", "in_flight: should be a valid integer: True"),
        (SHOP + "timeout_s = 0", "timeout_s: should be greater than 0"),
        (SHOP + "timeout_s = nan", "timeout_s: should be a finite number"),
        (SHOP + "attempts = 0", "attempts: should be greater than or equal to 1"),
        (SHOP + "attempts = 101", "attempts: should be less than or equal to 100"),
        (SHOP + "max_wait_s = -1", "max_wait_s: should be greater than or equal to 0"),
        (SHOP + "tls = '1.0'", "tls: should be '1.2' or 'legacy'"),
        (SHOP + "quota = '20 a second'", "quota: '20 a second' is not a quota"),
        (SHOP + "quota = []", "quota: should be a text"),
        (SHOP + "quota = 20", "quota: should be a text"),
        (SHOP + "quota = '1000001/day'", "state it per shorter time"),
        (SHOP + "quota = ['auto', '5/s']", '"auto" cannot be combined'),
        (SHOP + "quota = 'Auto'", "'Auto' is not a quota"),
        (SHOP + "quota = '5/s bursts'", "'5/s bursts' is not a quota"),
        (SHOP + "max_outage_s = -1", "max_outage_s: should be greater than or equal to 0"),
        (SHOP + "pacing = 'loose'", "pacing: should be 'even' or 'strict'"),
        (SHOP + "pacing = 'strict'\nquota = 'auto'", 'pacing: "strict" needs a quota'),
        (SHOP + DAY + "day_starts = '00:00'", "day_starts: should be a time with its offset"),
        (SHOP + DAY + "day_starts = 00:00:00", "day_starts: should be a time with its offset"),
        (SHOP + DAY + "day_starts = '24:00Z'", "day_starts: should be a time with its offset"),
        (SHOP + "day_starts = '00:00Z'\nquota = '5/h'", "needs a quota per day"),
        (SHOP + "day_starts = '00:00Z'", "needs a quota per day"),  # the default has none
        (SHOP + "shares = 0", "shares: should be greater than or equal to 1"),
        (SHOP + "shares = 17", "shares: should be less than or equal to 16"),
        (SHOP + "shares = 2\nquota = 'auto'", "shares: a learned quota cannot be divided: 2"),
        (SHOP + "shares = 4\nquota = ['9/s', '3/min']", "shares: quota 3/min is too small"),
        (SHOP + "shares = 6", "shares: quota 5/s (the default) is too small"),
        (SHOP + "shares = 4\nin_flight = 3", "shares: in_flight = 3 is too small"),
        (SHOP + "shares = 5", "shares: in_flight = 4 is too small"),  # the default
        (SHARED + "shares = 2", "twin and shop have one credential, and so one quota, and need"),
        (SHARED + "shares = 4\nquota = '4/s'", "need the same quota in both"),
        (SHARED + "shares = 4\npacing = 'strict'", "need the same pacing in both"),
        # addresses
        (SHOP + "base_url = 'http://acme.example'", "should start with https://"),
        (SHOP + "base_url = 'ftp://acme.example'", "should start with https://"),
        (SHOP + "base_url = 'acme.example'", "should be scheme, host and path"),
        (SHOP + "base_url = 'https://a.example/?x=1'", "should be scheme, host and path"),
        (SHOP + "base_url = 'https://u:p@a.example/'", "should contain no user"),
        (SHOP + "base_url = 'https://a.example:x/'", "is not a URL"),
        (SHOP + "base_url = 'http://127.0.0.1.evil.example'", "should start with https://"),
        (SHOP + "base_url = 'http://10.0.0.1'", "should start with https://"),
        (SHOP + "proxy = 'http://me:pw@proxy.example:3128'", "should contain no user"),
        (SHOP + "client_key = 'k.pem'", "needs a client_cert"),
        (SHOP + "base_url = 'https://a.example/?'", "should be scheme, host and path"),
        (SHOP + "base_url = 'https://a.example/#'", "should be scheme, host and path"),
        (SHOP + "base_url = 'https://ä.example/'", "should be scheme, host and path"),
        (SHOP + "proxy = 'https://proxy.example:3128'", "proxy: should start with http://"),
        (SHOP + "proxy = 'socks5://proxy.example:1'", "proxy: should start with http://"),
        (SHOP + "proxy = 'proxy.example:3128'", "proxy: should be scheme, host and path"),
        (SHOP + "headers = {Authorization = 'x'}", "headers: may not set Authorization"),
        (SHOP + "headers = {host = 'x'}", "headers: may not set host"),
        (SHOP + "headers = {Content-Type = 'x'}", "headers: may not set Content-Type"),
        (SHOP + "headers = {Expect = 'x'}", "headers: may not set Expect"),
        (SHOP + "headers = {X-A = 'x', TE = 'x', 'X A' = 'x'}", "set TE: that comes from the"),
        (SHOP + 'headers = {X-A = "a\\r\\nB: c"}', "characters that a header cannot carry"),
        (SHOP + "headers = {'X A' = 'x'}", "cannot be the name of a header"),
        # how files differ
        ("[input.'acme.prize']", '[input."acme.prize"]: there is no such operation'),
        ("[input.'acme.price']\nmising = 'clear'", "Did you mean missing?"),
        ("[input.'acme.price']\nmissing = 'guess'", "should be 'refuse', 'keep' or 'clear'"),
        ("[input.'acme.price']\naccounts = ['shop']", "there is no account 'shop'"),
        (
            "[input.'acme.price']\ntimezone = 'Mars'",
            '[input."acme.price"] timezone: is not a known',
        ),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    told = faults(tmp_path, text)
    assert expected in told
    assert told.startswith(str(tmp_path / "pipeline.toml"))


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    told = faults(
        tmp_path, "timzone = 'UTC'" + SHOP + "in_flight = 0\nverify = false\nqota = '1/s'"
    )
    assert len(told.splitlines()) == 4


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080/api/"]
)
def test_http_is_allowed_to_this_machine(tmp_path: Path, url: str) -> None:
    link = load(tmp_path, f"{SHOP}base_url = '{url}'").outline("shop").link
    assert link.base_url == url.rstrip("/")


def test_http_elsewhere_must_be_allowed(tmp_path: Path) -> None:
    config = load(tmp_path, f"{SHOP}base_url = 'http://old.example'\nallow_http = true")
    assert config.outline("shop").link.base_url == "http://old.example"


def test_an_account_with_a_fault_is_still_an_account(tmp_path: Path) -> None:
    text = SHOP + "in_flight = 0\n[input.'acme.price']\naccounts = ['shop']"
    assert len(faults(tmp_path, text).splitlines()) == 1


# The environment


def test_the_environment_overrides_by_path(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        SHOP.replace("shop", "my-shop") + "[input.'acme.price']\nmissing = 'refuse'",
        PIPELINE_ACCOUNTS__MY_SHOP__IN_FLIGHT="32",
        pipeline_accounts__my_shop__quota='["7/s", "70/min"]',
        PIPELINE_ACCOUNTS__MY_SHOP__TLS="1.2",
        PIPELINE_INPUT__ACME_PRICE__MISSING="clear",
        PIPELINE_INPUT__ACME_STOCK__TIMEZONE="UTC",
        PIPELINE_REPORTS="/var/reports",
        ACME_KEY=SECRET,
    )
    account = config.outline("my-shop")
    assert account.in_flight == 32
    assert account.quotas == (Quota(7, 1.0), Quota(70, 60.0))
    assert config.reports == Path("/var/reports")
    assert config.input_for("acme.price").missing == "clear"
    assert config.input_for("acme.stock").timezone == "UTC"


def test_an_account_can_come_from_the_environment_alone(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        PIPELINE_ACCOUNTS__SHOP__VENDOR="acme",
        PIPELINE_ACCOUNTS__SHOP__PROJECT_ID="7",
        PIPELINE_ACCOUNTS__SHOP__API_KEY="env:ACME_KEY",
    )
    key = config.account("shop", {"ACME_KEY": SECRET}).settings.api_key  # type: ignore[attr-defined]
    assert key.get_secret_value() == SECRET


def test_a_fault_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    told = faults(tmp_path, SHOP, PIPELINE_ACCOUNTS__SHOP__IN_FLIGHT="many")
    assert told.startswith("PIPELINE_ACCOUNTS__SHOP__IN_FLIGHT: [accounts.shop] in_flight:")


def test_a_misspelt_path_is_a_fault_and_a_foreign_variable_is_none(tmp_path: Path) -> None:
    load(tmp_path, SHOP, PIPELINE_WORKSPACE="/somewhere")  # a build server's
    assert "Did you mean accounts?" in faults(tmp_path, SHOP, PIPELINE_ACOUNTS__SHOP__QUOTA="1/s")


def test_a_value_with_a_line_end_is_text(tmp_path: Path) -> None:
    told = faults(tmp_path, SHOP, PIPELINE_ACCOUNTS__SHOP__QUOTA='"1/s"\nvendor = "x"')
    assert "is not a quota" in told


# Accounts


def test_what_an_account_leaves_out_is_the_most_cautious_default(tmp_path: Path) -> None:
    account = load(tmp_path, SHOP).outline("shop")
    assert account.quotas == (Quota(5, 1.0), Quota(100, 60.0))
    assert account.is_assumed
    assert (account.in_flight, account.link.timeout_s) == (4, 65.0)
    assert account.retry.max_attempts == 5
    assert account.max_wait_s == 900.0


def test_what_an_account_states_holds(tmp_path: Path) -> None:
    text = SHOP + (
        "quota = '20/s'\nin_flight = 16\ntimeout_s = 9\nconnect_timeout_s = 2.5\nattempts = 3\n"
        "max_wait_s = 60\nca_file = 'ca.pem'\ntls = 'legacy'\nproxy = 'http://proxy.example:3128'\n"
        "headers = {X-Team = 'offers'}"
    )
    Authority.made_in(tmp_path)  # writes ca.pem
    account = load(tmp_path, text).account("shop", {"ACME_KEY": SECRET})
    assert account.quotas == (Quota(20, 1.0),)
    assert not account.is_assumed
    assert account.retry.max_attempts == 3
    assert account.max_wait_s == 60.0
    link = account.link
    assert (link.timeout_s, link.connect_timeout_s, link.tls) == (9.0, 2.5, "legacy")
    assert (link.ca_file, link.proxy) == (tmp_path / "ca.pem", "http://proxy.example:3128")
    assert link.headers == {"X-Team": "offers"}


def test_an_unknown_account_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no account 'shopp'.*one of shop\. Did you mean shop\?"):
        load(tmp_path, SHOP).outline("shopp")
    with pytest.raises(ConfigError, match=r"\[accounts\.shop\]"):
        load(tmp_path, "").account("shop", {})


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), (b"no PEM", "expected certif")]
)
def test_a_file_of_an_account_must_be_usable_when_the_account_is_used(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    config = load(tmp_path, SHOP + "ca_file = 'ca.pem'")
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    told = rf"\[accounts\.shop\] ca_file cannot be used: .*{why}"
    with pytest.raises(ConfigError, match=told):
        config.check_files("shop")
    with pytest.raises(ConfigError, match=told):
        config.account("shop", {"ACME_KEY": SECRET})


def test_dates_of_an_operation_take_the_general_time_zone(tmp_path: Path) -> None:
    text = "timezone = 'Europe/Berlin'\n[input.'acme.price']\ntimezone = 'Asia/Tokyo'"
    config = load(tmp_path, text)
    assert config.input_for("acme.price").timezone == "Asia/Tokyo"
    assert config.input_for("acme.stock") == InputSettings(timezone="Europe/Berlin")


# Secrets


def with_key(reference: str) -> str:
    return SHOP.replace("env:ACME_KEY", reference)


def test_a_plain_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    told = faults(tmp_path, with_key(SECRET))
    assert 'write api_key = "env:ACME_API_KEY"' in told
    assert SECRET not in told
    for line in (
        f"apikey = '{SECRET}'",
        f"proxy = 'http://me:{SECRET}@proxy.example'",
        f"headers = {{Authorization = '{SECRET}'}}",
        f"in_flight = {{key = '{SECRET}'}}",
        f"proxy = 'http://me:{SECRET}'",  # what it takes for a port
        f"base_url = 'https://me:{SECRET}'",
    ):
        assert SECRET not in faults(tmp_path, SHOP + line)


def test_a_secret_is_read_from_where_its_reference_points(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(f"  {SECRET} \nsecond line\n")
    program = tmp_path / "print key"
    program.write_text(f"#!/bin/sh\necho noise >&2\nprintf '%s\\n' {SECRET}$1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for reference, expected in (
        ("env:ACME_KEY", SECRET),
        ("file:key.txt", SECRET),  # relative to the configuration, first line, stripped
        ("command:'./print key' ';x'", SECRET + ";x"),  # no shell reads the semicolon
    ):
        config = load(tmp_path, with_key(reference.replace("'", "\\u0027")))
        account = config.account("shop", {"ACME_KEY": f" {SECRET}\n", "PATH": "/usr/bin:/bin"})
        assert account.settings.api_key.get_secret_value() == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("env:MISSING", "the environment variable MISSING is not set"),
        ("env:EMPTY", "the environment variable EMPTY is empty"),
        ("env:LINES", "the environment variable LINES holds control characters"),
        ("file:none.txt", "the file none.txt cannot be read: No such file"),
        ("file:.", "the file . cannot be read: Is a directory"),
        ("file:latin.txt", "the file latin.txt cannot be read: it is not UTF-8 text"),
        ("command:no-such-program x", "the command no-such-program cannot be run: No such file"),
        (f"command:sh -c \\u0027echo {SECRET} >&2; exit 3\\u0027", "the command sh failed with"),
        ("command:true", "the command true is empty"),
        ("command:echo \\u0027a", "the command echo has an unclosed quote"),
    ],
)
def test_a_secret_that_cannot_be_read_names_account_and_key(
    tmp_path: Path, reference: str, expected: str
) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    config = load(tmp_path, with_key(reference))
    environ = {"EMPTY": " ", "LINES": f"{SECRET}\nb", "PATH": "/usr/bin:/bin"}
    with pytest.raises(ConfigError) as caught:
        config.account("shop", environ)
    assert re.search(r"\[accounts\.shop\] api_key: " + re.escape(expected), str(caught.value))
    assert "Put the secret there, or correct the reference" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_account_that_no_row_uses_needs_no_secret(tmp_path: Path) -> None:
    config = load(tmp_path, SHOP + SHOP.replace("shop", "idle").replace("ACME_KEY", "NOT_SET"))
    assert config.outline("idle").settings.project_id == 7  # type: ignore[attr-defined]
    config.account("shop", {"ACME_KEY": SECRET})


def test_proxy_and_headers_may_be_references(tmp_path: Path) -> None:
    config = load(tmp_path, SHOP + "proxy = 'env:PROXY'\nheaders = {X-Gateway = 'env:GATEWAY'}")
    proxy = f"http://me:{SECRET}@proxy.example:3128"
    environ = {"ACME_KEY": SECRET, "PROXY": proxy, "GATEWAY": SECRET}
    account = config.account("shop", environ)
    assert (account.link.proxy, account.link.headers) == (proxy, {"X-Gateway": SECRET})
    assert public_settings(account)["proxy"] == "http://proxy.example:3128"
    assert SECRET not in json.dumps(public_settings(account))


@pytest.mark.parametrize(
    ("key", "reference", "value", "expected"),
    [
        ("proxy", "env:IT", f"https://me:{SECRET}@proxy.example", "proxy: should start with http"),
        ("proxy", "env:IT", f"http://me:{SECRET}@", "proxy: should be scheme, host and path"),
        ("headers", "{X-A = 'env:IT'}", f"{SECRET}é", "headers: the value of X-A holds"),
    ],
)
def test_what_a_reference_leads_to_is_checked_and_not_shown(
    tmp_path: Path, key: str, reference: str, value: str, expected: str
) -> None:
    shown = reference if reference.startswith("{") else f"'{reference}'"
    config = load(tmp_path, f"{SHOP}{key} = {shown}")
    with pytest.raises(ConfigError) as caught:
        config.account("shop", {"ACME_KEY": SECRET, "IT": value})
    assert f"[accounts.shop] {expected}" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_no_secret_shows_in_any_text(tmp_path: Path) -> None:
    config = load(tmp_path, SHOP + "headers = {X-Gateway = 'env:GATEWAY', X-Plain = 's3cr3t'}")
    account = config.account("shop", {"ACME_KEY": SECRET, "GATEWAY": "from-env"})
    shown = public_settings(account)
    assert shown["project_id"] == 7
    assert "api_key" not in shown
    assert shown["headers"] == ["X-Gateway", "X-Plain"]
    for text in (repr(config), str(config), json.dumps(shown), repr(account.settings)):
        assert "s3cr3t" not in text


# How requests are paced


def test_the_limits_of_the_shares_add_up_to_those_of_the_account(tmp_path: Path) -> None:
    text = SHOP + "shares = 3\nquota = ['200/s', '1000/min burst']\nin_flight = 16"
    account = load(tmp_path, text).outline("shop")
    parts = [account.part(number) for number in range(3)]
    assert [part.in_flight for part in parts] == [5, 5, 6]
    assert [part.quota for part in parts] == [
        "66/s, 333/min burst",
        "67/s, 333/min burst",
        "67/s, 334/min burst",
    ]
    assert public_settings(account)["shares"] == 3


def test_an_account_has_one_share_unless_it_says_otherwise(tmp_path: Path) -> None:
    account = load(tmp_path, SHOP).outline("shop")
    assert account.part(0) is account


def test_accounts_of_two_credentials_may_differ_in_shares(tmp_path: Path) -> None:
    other = SHOP.replace("shop", "other").replace("= 7", "= 8")
    config = load(tmp_path, SHOP + "shares = 4" + other)
    assert [config.outline(name).shares for name in ("shop", "other")] == [4, 1]


def test_what_says_nothing_of_its_pace_is_paced_by_the_vendors_careful_guess(
    tmp_path: Path,
) -> None:
    account = load(tmp_path, SHOP).outline("shop")
    assert (account.quota, account.quota_is) == ("5/s, 100/min", "assumed")
    assert (account.is_strict, account.day_starts_s, account.max_outage_s) == (False, None, 900.0)


def test_a_quota_may_be_learned_from_the_vendors_careful_guess_on(tmp_path: Path) -> None:
    account = load(tmp_path, SHOP + "quota = 'auto'").outline("shop")
    assert account.quotas == ()
    assert (account.quota, account.quota_is) == ("auto", "learned")
    assert account.mean_per_s == account.starts_per_s == 100 / 60


@pytest.mark.parametrize(
    ("text", "day_starts_s", "shown"),
    [
        ("00:00+00:00", 0.0, "00:00Z"),
        ("00:00+02:00", 79_200.0, "22:00Z"),  # the day before, by UTC
        ("23:00-02:30", 5_400.0, "01:30Z"),  # the day after
        ("08:15:30Z", 29_730.0, "08:15:30Z"),
    ],
)
def test_a_day_of_the_vendors_may_begin_at_a_time_of_its_own(
    tmp_path: Path, text: str, day_starts_s: float, shown: str
) -> None:
    account = load(tmp_path, f"{SHOP}{DAY}day_starts = '{text}'").outline("shop")
    assert account.day_starts_s == day_starts_s
    assert public_settings(account)["day_starts"] == shown


PACED = "quota = ['1000/min burst', '50000/day']\npacing = 'strict'\nmax_outage_s = 60\n"


def test_how_an_account_is_paced_is_shown_and_kept_at_the_simulator(tmp_path: Path) -> None:
    config = load(tmp_path, f"{SHOP}{PACED}day_starts = '06:00+01:00'")
    account = config.account("shop", {"ACME_KEY": SECRET})
    assert account.quotas == (Quota(1000, 60.0, is_burst=True), Quota(50_000, 86_400.0))
    assert account.quota_is == ""
    shown = public_settings(account)
    assert shown["quota"] == ["1000/min burst", "50000/day"]
    assert (shown["pacing"], shown["day_starts"]) == ("strict", "05:00Z")
    assert shown["max_outage_s"] == 60.0
    simulated = config.simulated({"acme": "http://127.0.0.1:9"}).account("shop", {})
    paced = ("quotas", "is_assumed", "is_strict", "day_starts_s", "max_wait_s", "max_outage_s")
    assert [getattr(simulated, key) for key in paced] == [getattr(account, key) for key in paced]


def test_a_learned_quota_is_shown_as_such(tmp_path: Path) -> None:
    config = load(tmp_path, SHOP + "quota = 'auto'")
    assert public_settings(config.outline("shop"))["quota"] == "auto"
    simulated = config.simulated({"acme": "http://127.0.0.1:9"}).outline("shop")
    assert (simulated.quota, simulated.quota_is) == ("auto", "learned")


# The simulator in place of the vendors


def test_simulated_accounts_lead_to_the_simulator_only(tmp_path: Path) -> None:
    text = SHOP + (
        "quota = '20/s'\nbase_url = 'https://live.example'\nproxy = 'http://proxy.example:1'\n"
        "ca_file = 'ca.pem'\nclient_cert = 'c.pem'\nheaders = {X-Team = 'env:TEAM'}\ntls = 'legacy'"
    )
    simulated = load(tmp_path, text).simulated({"acme": "http://127.0.0.1:9"})
    assert simulated.accounts.keys() == {"shop", "sample-acme"}
    account = simulated.account("shop", {})
    assert account.is_simulated
    assert account.quotas == (Quota(20, 1.0),)
    assert account.settings.api_key.get_secret_value() == "simulator-key"  # type: ignore[attr-defined]
    assert account.settings.project_id == 7  # type: ignore[attr-defined]
    link = account.link
    assert link.base_url == account.settings.base_url == "http://127.0.0.1:9"
    assert (link.proxy, link.ca_file, link.client_cert, link.tls) == (None, None, None, "1.2")
    assert not link.headers
    assert "live.example" not in repr(account)


class TokenSettings(VendorSettings):
    """A vendor with several ways to sign in, and particular about them."""

    base_url: str = "https://acme.example"
    api: str
    shelf: str | None = None
    auth: str = "token"
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None
    scopes: tuple[str, ...] = ()
    token_url: str = "https://login.example/token"
    notify_url: str = "https://notify.example"
    ready_token: SecretStr | None = None
    user: str | None = None
    password: SecretStr | None = None
    pace: int = 1

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        given = {key for key, value in self if value not in (None, ())}
        ways = {
            "token": {"client_id", "client_secret", "scopes"},
            "ready": {"ready_token"},
            "basic": {"user", "password"},
            "none": set(),
        }
        if given & set.union(*ways.values()) != ways[self.auth]:
            raise ValueError("that is another way to sign in")
        if (self.api == "old") != (self.shelf is not None):
            raise ValueError("the old API has shelves, the new one has none")
        return self


def token_call(s: TokenSettings) -> Authentication:
    if s.auth != "token":
        return None
    return TokenCall(base_url=s.token_url, request=Request("POST", "/"), read=lambda _reply: None)


TOKENS = replace(
    ACME,
    settings=TokenSettings,
    authenticate=token_call,
    simulated={
        "api": "old",
        "shelf": "top",
        "client_id": "simulator-id",
        "client_secret": "simulator-secret",
        "scopes": ["all"],
        "token_url": "{origin}/login/token",
        "notify_url": "{origin}/notify",
        "pace": 20,
    },
)
MINE = {"client_id": "env:NOT_SET", "client_secret": "env:NOT_SET", "scopes": ["mine"]}


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        # signs in as the simulator does: all that is no secret and no address stays
        ({"api": "new", **MINE}, {"api": "new", "scopes": ("mine",), "pace": 1, "shelf": None}),
        ({"api": "old", "shelf": "low", "pace": 3, **MINE}, {"shelf": "low", "pace": 3}),
        # ... and no address stays, whatever it is for
        ({"api": "new", "token_url": "https://live.example/t", **MINE}, {"api": "new"}),
        ({"api": "new", "notify_url": "https://live.example/n", **MINE}, {"api": "new"}),
        # signs in otherwise: as little as possible gives way
        (
            {"api": "new", "auth": "ready", "ready_token": "env:NOT_SET", "pace": 3},
            {"api": "new", "auth": "token", "ready_token": None, "scopes": ("all",), "pace": 3},
        ),
        (
            {"api": "new", "auth": "basic", "user": "me", "password": "env:NOT_SET"},
            {"api": "new", "auth": "token", "user": None, "password": None, "pace": 1},
        ),
        ({"api": "old", "shelf": "low", "auth": "none"}, {"auth": "token", "shelf": "low"}),
    ],
)
def test_at_the_simulator_an_account_signs_in_as_the_simulator_wants(
    tmp_path: Path, own: dict[str, Any], kept: dict[str, Any]
) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in own.items()]
    (tmp_path / "pipeline.toml").write_text(
        "\n".join(["[accounts.shop]", "vendor = 'acme'", *lines])
    )
    config = load_config(None, environ={}, vendors={"acme": TOKENS}, cwd=tmp_path)
    account = config.simulated({"acme": "http://127.0.0.1:9/acme/v2"}).account("shop", {})
    settings = account.settings
    assert isinstance(settings, TokenSettings)
    assert settings.base_url == "http://127.0.0.1:9/acme/v2"
    assert settings.token_url == "http://127.0.0.1:9/login/token"
    assert settings.client_secret == SecretStr("simulator-secret")
    assert {key: getattr(settings, key) for key in kept} == kept
    assert "live.example" not in repr(account)
    assert "simulator-secret" not in json.dumps(public_settings(account))


def test_a_sample_account_has_its_addresses_at_the_simulator(tmp_path: Path) -> None:
    config = load_config(None, environ={}, vendors={"acme": TOKENS}, cwd=tmp_path)
    account = config.simulated({"acme": "http://[::1]:9/acme"}).account("sample-acme", {})
    assert isinstance(account.settings, TokenSettings)
    assert account.settings.token_url == "http://[::1]:9/login/token"
    assert (account.settings.api, account.settings.pace) == ("old", 20)


def test_a_secret_that_the_simulator_does_not_know_is_left_out(tmp_path: Path) -> None:
    config = load(tmp_path, SHOP + "backup_key = 'env:BACKUP'")
    account = config.simulated({"acme": "http://127.0.0.1:9"}).account("shop", {})
    assert isinstance(account.settings, AcmeSettings)
    assert account.settings.backup_key is None
    assert account.settings.api_key == SecretStr("simulator-key")


def test_sample_accounts_need_no_configuration(tmp_path: Path) -> None:
    account = load(tmp_path).simulated({"acme": "http://127.0.0.1:9"}).account("sample-acme", {})
    assert account.is_simulated
    assert account.quotas == (Quota(50, 1.0),)
    assert account.settings.project_id == 1  # type: ignore[attr-defined]


def test_accounts_of_a_vendor_without_simulator_are_left_out(tmp_path: Path) -> None:
    config = load(tmp_path, SHOP + SHOP.replace("shop", "far").replace("acme", "other"))
    simulated = config.simulated({"acme": "http://127.0.0.1:9"})
    assert simulated.accounts.keys() == {"shop", "sample-acme"}


# What the configuration passes, the transport takes


TEXT = st.text(st.sampled_from("htps:/.?#@[]\\%aZ1ä \t\r\n\x00-_"), max_size=12)


@given(st.sampled_from(["https://", "http://127.0.0.1", "http://", ""]), TEXT)
def test_a_link_that_passes_can_be_used(start: str, rest: str) -> None:
    url = start + rest
    if url_fault(url) is None:
        Transport(Link(base_url=url), authorization=None, in_flight=1)
    if proxy_fault(url, may_name_user=True) is None:
        link = Link(base_url="https://a.example", proxy=url)
        Transport(link, authorization=None, in_flight=1)


# The vendors that there are


@pytest.mark.parametrize("name", sorted(load_vendors()))
def test_every_vendor_can_be_simulated(tmp_path: Path, name: str) -> None:
    config = load_config(None, environ={}, vendors=load_vendors(), cwd=tmp_path)
    account = config.simulated({name: "http://127.0.0.1:9"}).account(f"sample-{name}", {})
    assert account.vendor.authenticate(account.settings)
    assert json.dumps(public_settings(account))
