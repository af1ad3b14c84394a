"""An account that is sent in shares: the same promises, and the same limits."""

from __future__ import annotations

import json
from itertools import count

import anyio
import pytest

from pipeline.config import Config
from pipeline.jobs.shares import share_of
from pipeline.model import ConfigError, OtherSharesError, Status
from pipeline.run import RunEnvironment, carry_out, prepare, reopen
from pipeline.runs import RunOptions
from pipeline.runs.stop_if import parse_stop_if
from pipeline.simulator import serve
from pipeline.workers.fail_fast import FAIL_FAST_AFTER
from pipeline.workers.refusals import MAX_PROBES
from tests.busyness import busyness
from tests.cli.command import typed
from tests.run.test_run import send
from tests.workplace import ENVIRON, configure, coupon, drop, row_of, simulator

PAUSE = """
[[rule]]
path = "/coupon/c300$"
replies = ["429-seconds", "ok"]
retry_after_s = 2
"""
HANGS = """
[[rule]]
path = "/coupon/hangs"
replies = ["timeout-after"]
"""


async def test_a_run_is_resumed_with_the_shares_that_it_began_with(tmp_path):
    path = drop(tmp_path, *map(coupon, range(1, 30)))
    async with serve() as vendor:
        base_url = vendor.base_urls["xsolla"]
        config = configure(tmp_path, base_url, more="shares = 4")
        prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
        prepared.lease.release()
        changed = configure(tmp_path, base_url, more="shares = 2")
        with pytest.raises(ConfigError, match="began with shares = 4 for account shop"):
            prepare(path, changed, RunOptions())  # the same content would be resumed
        reopen(prepared.run, changed, is_for_report=True).lease.release()  # nothing is sent
        summary = await carry_out(reopen(prepared.run, config), RunEnvironment(environ=ENVIRON))
    assert summary.exit_code == 0


async def test_other_shares_wait_until_unfinished_runs_of_the_account_are_done(tmp_path):
    first = drop(tmp_path, coupon(1))
    config = configure(tmp_path, "http://127.0.0.1:9", more="shares = 4")
    unfinished = await anyio.to_thread.run_sync(prepare, first, config, RunOptions())
    unfinished.lease.release()
    changed = configure(tmp_path, "http://127.0.0.1:9", more="shares = 2")
    other = drop(tmp_path, coupon(2), name="other.csv")
    with pytest.raises(ConfigError, match="is unfinished and began with shares = 4"):
        prepare(other, changed, RunOptions())
    (run,) = (tmp_path / ".pipeline" / "runs").iterdir()  # nothing is left of the other one
    assert run.name == unfinished.run
    prepare(other, config, RunOptions()).lease.release()


OF_ONE_MERCHANT = """shares = {shares}
merchant_id = 7
[accounts.other]
vendor = "xsolla"
base_url = "http://127.0.0.1:9"
project_id = 44057
merchant_id = {merchant}
api_key = "env:SHOP_KEY"
quota = "100000/s"
in_flight = 16
shares = {shares}
"""


@pytest.mark.parametrize("merchant", [7, 8])
def test_other_shares_wait_for_other_accounts_of_the_credential_too(tmp_path, merchant):
    """The parts of one quota would not add up."""

    def config_of(shares: int) -> Config:
        more = OF_ONE_MERCHANT.format(shares=shares, merchant=merchant)
        return configure(tmp_path, "http://127.0.0.1:9", more=more)

    def begin(name: str, account: str, shares: int) -> None:
        path = drop(tmp_path, coupon(1), name=name)
        prepare(path, config_of(shares), RunOptions(account=account)).lease.release()

    begin("first.csv", "shop", 4)
    if merchant == 7:
        with pytest.raises(OtherSharesError, match="began with shares = 4 for account shop"):
            begin("other.csv", "other", 2)
    else:
        begin("other.csv", "other", 2)


async def test_a_run_of_before_there_were_shares_had_one(tmp_path):
    path = drop(tmp_path, coupon(1))
    config = configure(tmp_path, "http://127.0.0.1:9")
    prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
    prepared.lease.release()
    assert not json.loads((prepared.folder / "run.json").read_bytes())["shares"]
    changed = configure(tmp_path, "http://127.0.0.1:9", more="shares = 2")
    with pytest.raises(ConfigError, match="began with shares = 1 for account shop"):
        reopen(prepared.run, changed)


@pytest.mark.quiet("what arrives more than 0.1 s after a pause began is a fault")
async def test_a_pause_of_one_share_holds_for_all(tmp_path):
    (tmp_path / "script.toml").write_text(PAUSE)
    path = drop(tmp_path, *map(coupon, range(1, 1001)))
    script = ("--script", str(tmp_path / "script.toml"))
    with busyness(tmp_path) as machine, simulator(*script) as vendor:
        config = configure(tmp_path, vendor.base_url, quota='"400/s"', more="shares = 4")
        summary = await send(path, config)
        log = list(vendor.get("log"))
    assert summary.statuses[Status.UPDATED] == 1000
    paused_s = next(entry["arrived_s"] for entry in log if entry["status"] == 429)
    after_s = [entry["arrived_s"] - paused_s for entry in log if entry["arrived_s"] > paused_s]
    assert not [each for each in after_s if 0.1 + machine.late_s < each < 2.0]
    assert len(after_s) > 100


async def test_only_one_share_sends_until_the_first_reply(tmp_path):
    path = drop(tmp_path, *map(coupon, range(1, 121)))
    with simulator("--latency-ms", "400") as vendor:
        config = configure(tmp_path, vendor.base_url, more="shares = 4")
        await send(path, config)
        arrived = sorted(entry["arrived_s"] for entry in vendor.get("log"))
    assert arrived[1] - arrived[0] >= 0.4
    assert arrived[5] - arrived[1] < 3 * 0.4  # then all of them, not one after the other


@pytest.mark.parametrize("shares", [1, 4])
async def test_equal_refusals_stop_the_account_before_other_shares_begin(tmp_path, shares):
    """As many requests as if it were sent as a whole."""
    path = drop(tmp_path, *(coupon(row, f"none{row}") for row in range(1, 401)))
    with simulator("--strict-ids") as vendor:
        config = configure(tmp_path, vendor.base_url, more=f"shares = {shares}", in_flight=4)
        summary = await send(path, config)
        requests = vendor.stats()["requests"]
    assert summary.exit_code == 3
    assert requests <= FAIL_FAST_AFTER + MAX_PROBES + 4
    assert summary.statuses[Status.NOT_ATTEMPTED] >= 400 - requests


async def test_a_stop_of_one_share_stops_the_account(tmp_path):
    """A condition counts the rows of all shares together."""
    path = drop(tmp_path, *map(coupon, range(1, 1001)))
    options = RunOptions(stop_if=(parse_stop_if("changes > 100"),))
    with simulator("--latency-ms", "5") as vendor:
        config = configure(tmp_path, vendor.base_url, more="shares = 4")
        summary = await send(path, config, options)
    assert summary.exit_code == 3
    assert 101 <= summary.statuses[Status.UPDATED] <= 101 + 2 * 16  # twice what may be in flight
    assert summary.statuses[Status.NOT_ATTEMPTED] == 1000 - summary.statuses[Status.UPDATED]


async def test_a_canary_is_sent_in_shares_and_then_the_rest(tmp_path):
    path = drop(tmp_path, *map(coupon, range(1, 201)))
    with simulator() as vendor:
        config = configure(tmp_path, vendor.base_url, more="shares = 4")
        summary = await send(path, config, RunOptions(canary=10))
        assert vendor.stats()["requests"] == 200
    assert summary.statuses[Status.UPDATED] == 200


async def test_the_order_of_each_entity_holds_in_shares(tmp_path):
    lines = [coupon(row, f"c{row % 37}") for row in range(1, 741)]
    with simulator("--latency-ms", "3", "--jitter-ms", "3", "--fault", "503=0.05") as vendor:
        config = configure(tmp_path, vendor.base_url, more="shares = 4\nattempts = 20")
        summary = await send(drop(tmp_path, *lines), config)
        log = sorted(vendor.get("log"), key=lambda entry: entry["seq"])
    assert summary.statuses[Status.UPDATED] == 740
    sent: dict[str, list[int]] = {}
    for entry in log:
        sent.setdefault(entry["id"], []).append(row_of(entry["body"]))
    assert all(rows == sorted(rows) for rows in sent.values())


async def test_a_few_rows_are_sent_as_one_share(tmp_path):
    """A row that hangs, alone in its share, is no reason to give up an account that works."""
    (tmp_path / "script.toml").write_text(HANGS)
    with simulator("--script", str(tmp_path / "script.toml")) as vendor:
        config = configure(
            tmp_path, vendor.base_url, more="shares = 4\nattempts = 1\ntimeout_s = 5"
        )
        entities = f"xsolla|{vendor.url}|44056|coupon|"
        hangs = next(f"hangs{n}" for n in count() if share_of(f"{entities}hangs{n}", 4) == 0)
        works = next(f"c{n}" for n in count() if share_of(f"{entities}c{n}", 4) == 1)
        summary = await send(drop(tmp_path, coupon(1, hangs), coupon(2, works)), config)
    assert summary.statuses[Status.UPDATED] == 1


async def test_verification_reads_each_entity_once_at_the_quota_of_its_share(tmp_path):
    path = drop(tmp_path, *map(coupon, range(1, 91)))
    with simulator("--quota", "60/s") as vendor:
        config = configure(tmp_path, vendor.base_url, quota='"60/s"', more="shares = 4")
        await send(path, config)
        verified = await anyio.to_thread.run_sync(typed, tmp_path, "verify", "latest")
        log = list(vendor.get("log"))
    assert verified.code == 0, verified.words
    read = [entry["id"] for entry in log if entry["method"] == "GET"]
    assert sorted(read) == sorted(f"c{row}" for row in range(1, 91))
    assert 429 not in {entry["status"] for entry in log}
