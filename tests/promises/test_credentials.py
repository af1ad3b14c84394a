"""A run is carried on by whoever began it; renewed passwords, secrets and tokens do no harm."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from pipeline.config import Config, load_config
from pipeline.model import ConfigError, NoReply, Reply, Request, Status
from pipeline.run import Prepared, RunEnvironment, carry_out, check_secrets, prepare, reopen
from pipeline.run import report_only as report
from pipeline.run.credentials import credential_of
from pipeline.run.failed_rows import prepare_failed
from pipeline.runs import RunOptions, open_store
from pipeline.vendors import Account, load_vendors
from tests.run.test_old_rows import table
from tests.workers.wires import CalledBack
from tests.workplace import coupon, drop

SHOP = 'vendor = "xsolla"\nproject_id = 44056\napi_key = "env:KEY"\n'
JOURNEY = (
    'vendor = "adobe"\napi = "xcore"\ncontainer_id = "e0bd8463-0913-4ca1-bd84-6309134ca1f6"\n'
    'ims_org = "ACME@AdobeOrg"\nsandbox_name = "prod"\nclient_id = "env:ID"\n'
)
CALLED = JOURNEY + 'client_secret = "env:KEY"\nscopes = ["openid"]\n'
TOKEN = JOURNEY + 'access_token = "env:KEY"\n'
BILLING = 'vendor = "oracle"\nbase_url = "https://brm.example/bcws/webresources/v1.0"\n'
CLIENT = BILLING + 'client_id = "env:ID"\nclient_secret = "env:KEY"\n'
PERSON = BILLING + 'auth = "basic"\nuser = "jane"\npassword = "env:KEY"\n'
READY = BILLING + 'access_token = "env:KEY"\n'
NOBODY = BILLING + 'auth = "none"\n'
ENVIRON = {"ID": "our-client", "KEY": "a-secret"}


def read(folder: Path, account: str) -> Config:
    (folder / "pipeline.toml").write_text(f"[accounts.one]\n{account}")
    return load_config(None, environ={}, vendors=load_vendors(), cwd=folder)


def signed(folder: Path, account: str, environ: Mapping[str, str] = ENVIRON) -> str | None:
    return credential_of(read(folder, account).account("one", environ))


@pytest.mark.parametrize(
    ("before", "after", "environ", "is_same"),
    [
        (SHOP, SHOP, {"KEY": "renewed"}, True),
        (SHOP, SHOP + "merchant_id = 7\n", {}, False),  # the merchant's key opens more
        (CALLED, CALLED, {"KEY": "renewed"}, True),
        (CALLED, CALLED, {"ID": "their-client"}, False),
        (CALLED, TOKEN, {"KEY": "a token"}, True),
        (TOKEN, TOKEN, {"KEY": "the next token"}, True),
        (TOKEN, TOKEN, {"ID": "their-client"}, False),
        (CLIENT, CLIENT, {"KEY": "renewed"}, True),
        (CLIENT, CLIENT, {"ID": "their-client"}, False),
        (PERSON, PERSON, {"KEY": "renewed"}, True),
        (PERSON, PERSON.replace("jane", "john"), {}, False),
    ],
)
def test_who_signs_in_stays_while_secrets_are_renewed(tmp_path, before, after, environ, is_same):
    first = signed(tmp_path, before)
    assert first is not None
    assert (signed(tmp_path, after, ENVIRON | environ) == first) is is_same


@pytest.mark.parametrize("account", [READY, NOBODY])
def test_a_token_alone_names_nobody(tmp_path, account):
    assert signed(tmp_path, account) is None


def test_the_simulator_asks_nobody(tmp_path):
    config = read(tmp_path, SHOP).simulated({"xsolla": "http://127.0.0.1:9/v2"})
    assert credential_of(config.account("one", {})) is None


# What comes of it


@asynccontextmanager
async def shut_once(_account: Account, _account_limiter: Any) -> AsyncIterator[CalledBack]:
    """At the second request the way in is shut: the account stops, two rows are not sent."""
    sent: list[Request] = []

    async def send(request: Request) -> Reply | NoReply:
        sent.append(request)
        if len(sent) == 2:
            return NoReply("sign_in_refused", "no", may_have_arrived=False, is_permanent=True)
        return Reply(204, {}, b"")

    yield CalledBack(send)


@asynccontextmanager
async def accepted(_account: Account, _account_limiter: Any) -> AsyncIterator[CalledBack]:
    async def send(_request: Request) -> Reply:
        return Reply(204, {}, b"")

    yield CalledBack(send)


@asynccontextmanager
async def never(_account: Account, _account_limiter: Any) -> AsyncIterator[CalledBack]:
    async def send(request: Request) -> Reply:
        raise AssertionError(request)

    yield CalledBack(send)


MERCHANT = SHOP + "merchant_id = 7\nin_flight = 1\n"


def way(link: Any, **environ: str) -> RunEnvironment:
    return RunEnvironment(environ=ENVIRON | environ, open_link=link)


async def begun(folder: Path) -> Prepared:
    config = read(folder, MERCHANT)
    prepared = prepare(drop(folder, *map(coupon, (1, 2, 3))), config, RunOptions())
    summary = await carry_out(prepared, way(shut_once))
    assert summary.statuses[Status.NOT_ATTEMPTED] >= 1
    return prepared


async def test_another_merchant_does_not_carry_a_run_on(tmp_path):
    run = await begun(tmp_path)
    other = read(tmp_path, MERCHANT.replace("= 7", "= 8"))
    ways_back = [
        lambda: reopen(run.run, other),
        lambda: prepare(run.snapshot.source, other, RunOptions()),
        lambda: prepare_failed(run.run, other),
    ]
    for way_back in ways_back:
        again = way_back()
        assert again is not None
        with pytest.raises(ConfigError, match=f"as somebody else than run {again.run} began"):
            check_secrets(again, ENVIRON)
        with pytest.raises(ConfigError, match="a new password, secret or token is fine"):
            await carry_out(again, way(never))


async def test_a_renewed_key_carries_it_on(tmp_path):
    run = await begun(tmp_path)
    prepared = reopen(run.run, read(tmp_path, MERCHANT))
    check_secrets(prepared, ENVIRON | {"KEY": "renewed"})
    summary = await carry_out(prepared, way(accepted, KEY="renewed"))
    assert summary.statuses[Status.NOT_ATTEMPTED] == 0


async def test_nothing_but_a_digest_is_on_record(tmp_path):
    rows = [{"operation": "adobe.fallback-offer", "instance_id": "i", "status": "approved"}]
    config = read(tmp_path, CALLED)
    prepared = prepare(table(tmp_path / "o.csv", tuple(rows[0]), rows), config, RunOptions())
    await carry_out(prepared, way(accepted))
    known = open_store(config).runs.get(prepared.run)
    assert known is not None
    assert known.credentials.keys() == {"one"}
    assert len(known.credentials["one"]) == 16
    for path in [*prepared.folder.rglob("*"), config.ledger]:
        assert b"our-client" not in path.read_bytes()
        assert b"a-secret" not in path.read_bytes()


async def test_a_run_from_before_this_was_on_record_is_carried_on(tmp_path):
    run = await begun(tmp_path)
    path = run.folder / "run.json"
    stored = json.loads(path.read_text())
    del stored["credentials"], stored["checksum"]
    path.write_text(json.dumps(stored))
    other = read(tmp_path, MERCHANT.replace("= 7", "= 8"))
    with closing(sqlite3.connect(other.ledger)) as database, database:
        database.execute("UPDATE runs SET description = '', credentials = '{}', commits = 0")
        (row,) = database.execute("SELECT * FROM runs").fetchall()
        checksum = crc32(json.dumps([row[0], *row[2:-3]]).encode())
        database.execute("UPDATE runs SET checksum = ?", (checksum,))
    summary = await carry_out(reopen(run.run, other), way(accepted))
    assert summary.statuses[Status.NOT_ATTEMPTED] == 0
    known = open_store(other).runs.get(run.run)
    assert known is not None
    assert known.credentials.keys() == {"one"}  # from now on it is


async def test_a_report_needs_no_secret_whoever_signs_in(tmp_path):
    run = await begun(tmp_path)
    other = read(tmp_path, MERCHANT.replace("= 7", "= 8"))
    assert report(reopen(run.run, other)).statuses[Status.NOT_ATTEMPTED] >= 1
