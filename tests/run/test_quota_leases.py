"""Quotas of one command while the registry of runs cannot be used: it ends and says why."""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from pipeline.config import Config
from pipeline.model import Answer, Effect, RunAborted, Verdict
from pipeline.model.quota import Quota
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.quota_lease import QuotaLease
from pipeline.pacing.quota_parts import QuotaPart
from pipeline.pacing.unrecorded import AgeCount
from pipeline.plan.readers import open_states
from pipeline.run import RunEnvironment
from pipeline.run.pauses import lift_pause
from pipeline.run.quota_leases import QuotaLeases
from pipeline.store import LedgerError
from pipeline.store.kept_store import KeptStore
from pipeline.store.on_files import FileStore
from pipeline.store.seam import Lease, LeaseName
from tests.busyness import busyness
from tests.cli.command import pipeline
from tests.run.test_run import send
from tests.waiting import WITHIN_S, until_async
from tests.workers.drive import limiter_of, permit_of
from tests.workplace import ENVIRON, configure, coupon, drop, simulator

ADVICE = "send times are not what was written.*set `ledger` to a file in another folder"
DAMAGE = "UPDATE departures SET under_way = under_way + 1"


def execute(config: Config, statement: str) -> int:
    """How many rows of the registry `statement` changes."""
    with closing(sqlite3.connect(config.ledger)) as connection, connection:
        return connection.execute(statement).rowcount


THROTTLED = Answer(Verdict.THROTTLED, Effect.NONE, 429, retry_after_s=600.0)


async def test_a_run_that_finds_damaged_send_times_ends_and_says_what_to_do(tmp_path: Path) -> None:
    with simulator() as vendor:
        config = configure(tmp_path, vendor.base_url, quota='"20/s"')
        await send(drop(tmp_path, coupon(1)), config)
        assert execute(config, DAMAGE)
        path = str(drop(tmp_path, coupon(2), name="b.csv"))
        ended = await anyio.to_thread.run_sync(pipeline, tmp_path, "run", "--yes", path)
        assert ended.code == 3
        assert re.search(ADVICE, ended.words)
        assert "the report is in" in ended.words
        assert vendor.stats()["requests"] == 1


async def test_reading_ends_as_well(tmp_path: Path) -> None:
    with simulator() as vendor:
        config = configure(tmp_path, vendor.base_url, quota='"20/s"')
        await send(drop(tmp_path, coupon(1)), config)
        assert execute(config, DAMAGE)
        with anyio.fail_after(WITHIN_S), pytest.raises(LedgerError, match=ADVICE):
            async with open_states(["shop"], config, RunEnvironment(environ=ENVIRON)):
                await anyio.sleep_forever()


async def kept(leases: QuotaLeases, config: Config, act: Callable[[], Awaitable[None]]) -> str:
    """Share quotas while `act` runs, which goes on for ever: the words that end it."""
    with anyio.fail_after(WITHIN_S):
        try:
            async with leases.kept(config):
                await act()
                await anyio.sleep_forever()
        except RunAborted as error:
            return str(error)
    raise AssertionError


async def test_damage_during_a_run_stops_it_within_seconds(tmp_path: Path) -> None:
    config = configure(tmp_path, "http://127.0.0.1:1", quota='"20/s"')
    config.ledger_folder.mkdir()
    leases = QuotaLeases()
    limiter = leases.limiter(config.account("shop", ENVIRON), config)
    (lease,) = leases.by_part.values()

    async def record_a_pause_and_damage_it() -> None:
        while not limiter.is_open:
            await anyio.sleep(0.01)
        limiter.on_answer(THROTTLED, limiter.now_s())
        while limiter.pause.unrecorded is not None:
            await anyio.sleep(0.01)
        assert execute(config, "UPDATE pauses SET until_s = until_s + 1")

    said = await kept(leases, config, record_a_pause_and_damage_it)
    assert re.search("a pause is not what was written.*set `ledger`", said)
    assert not lease.is_held


async def test_a_registry_that_cannot_be_opened_ends_the_wait_for_a_quota(tmp_path: Path) -> None:
    config = configure(tmp_path, "http://127.0.0.1:1")
    config.ledger.mkdir(parents=True)
    leases = QuotaLeases()
    limiter = leases.limiter(config.account("shop", ENVIRON), config)

    async def wait_for_a_permit() -> None:
        await permit_of(limiter)

    assert "cannot be used" in await kept(leases, config, wait_for_a_permit)


async def test_send_times_that_cannot_be_recorded_are_told_and_recorded_later(
    tmp_path: Path,
) -> None:
    config = configure(tmp_path, "http://127.0.0.1:1", quota='"20/s"')
    config.ledger_folder.mkdir()
    leases, announced = QuotaLeases(), list[str]()
    limiter = leases.limiter(config.account("shop", ENVIRON), config)
    (lease,) = leases.by_part.values()
    away = config.ledger.with_suffix(".away")
    with anyio.fail_after(WITHIN_S):
        async with leases.kept(config, announced.append):
            while not limiter.is_open:
                await anyio.sleep(0.01)
            config.ledger.rename(away)
            config.ledger.mkdir()  # nothing can be recorded
            left = 0
            with anyio.move_on_after(4):
                while True:
                    limiter.on_reply(await permit_of(limiter), limiter.now_s(), None)
                    left += 1
            assert left <= lease.most_unrecorded < 4 * 20
            await until_async(lambda: "cannot be recorded" in "".join(announced))
            config.ledger.rmdir()
            away.rename(config.ledger)


async def test_send_times_that_stay_unrecorded_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.run.quota_leases.BEHIND_S", 1.0)
    config = configure(tmp_path, "http://127.0.0.1:1", quota='"20/s"')
    config.ledger_folder.mkdir()
    leases = QuotaLeases()
    limiter = leases.limiter(config.account("shop", ENVIRON), config)

    async def lose_the_registry() -> None:
        while not limiter.is_open:
            await anyio.sleep(0.01)
        config.ledger.rename(config.ledger.with_suffix(".away"))
        config.ledger.mkdir()

    assert "cannot be used" in await kept(leases, config, lose_the_registry)


@pytest.mark.quiet("a pause must be known to another process within 0.1 s")
async def test_a_pause_reaches_whoever_sends_at_other_parts_of_the_quota(tmp_path: Path) -> None:
    """And whoever lifts it lets them go on. Two sessions stand for two processes."""
    config = configure(tmp_path, "http://127.0.0.1:1", quota='"20/s"', more="shares = 2")
    config.ledger_folder.mkdir()
    account = config.account("shop", ENVIRON)
    one, other = QuotaLeases(), QuotaLeases()
    limiters = one.limiter(account, config, 0), other.limiter(account, config, 1)
    async with one.kept(config), other.kept(config):
        with busyness(tmp_path) as machine, anyio.fail_after(WITHIN_S):
            while not all(each.is_open for each in limiters):
                await anyio.sleep(0.01)
            limiters[0].on_answer(THROTTLED, time.monotonic())
            began_s = time.monotonic()
            while not limiters[1].pause.left_s:
                await anyio.sleep(0.002)
            assert time.monotonic() - began_s < 0.1 + machine.late_s
            assert limiters[1].pause.left_s > 590.0
            lift_pause(config, "shop", ENVIRON, time.time())
            while limiters[1].pause.left_s:
                await anyio.sleep(0.01)


class EndingLease:
    """A lease of files that ends by itself `ttl_s` after it was taken or renewed."""

    ttl_s = 1.5

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.sure_until_s = -math.inf
        self.is_out_of_reach = False
        self.renewals = 0
        for name in ("holder", "is_wanted", "release", "epoch", "is_held"):
            setattr(self, name, getattr(lease, name))

    def take(self) -> bool:
        return self._lease.take() and self._held()

    def renew(self) -> bool:
        if self.is_out_of_reach:
            raise RunAborted("the store does not answer")
        self.renewals += 1
        return self._lease.renew() and self._held()

    def _held(self) -> bool:
        self.sure_until_s = time.monotonic() + self.ttl_s
        return True


class EndingStore(FileStore):
    """A store whose leases end by themselves, as those of a database do."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.leases: list[EndingLease] = []

    def lease(self, name: LeaseName) -> Any:
        self.leases.append(EndingLease(super().lease(name)))
        return self.leases[-1]


class Kept(KeptStore):
    """Keeps this store."""

    def __init__(self, store: EndingStore) -> None:
        super().__init__()
        self._store = store

    def of(self, *_which: object) -> Any:
        return self._store


def with_leases_that_end(folder: Path, quota: str) -> tuple[Config, EndingStore]:
    config = configure(folder, "http://127.0.0.1:1", quota=f'"{quota}"')
    config.ledger_folder.mkdir()
    store = EndingStore(config.ledger)
    return replace(config, kept_store=Kept(store)), store


async def opened(limiter: RateLimiter) -> None:
    while not limiter.is_open:
        await anyio.sleep(0.01)


async def test_a_lease_that_ends_by_itself_is_renewed_while_it_is_used(tmp_path: Path) -> None:
    config, store = with_leases_that_end(tmp_path, "20/s")
    leases = QuotaLeases()
    limiter = leases.limiter(config.account("shop", ENVIRON), config)
    (lease,) = store.leases
    with anyio.fail_after(WITHIN_S):
        async with leases.kept(config):
            await opened(limiter)
            await anyio.sleep(2 * EndingLease.ttl_s)
            await until_async(lambda: lease.renewals >= 2 and limiter.is_sure)
            lease.is_out_of_reach = True
            await until_async(lambda: not limiter.is_sure)
            assert limiter.is_open  # it may be its own again
            assert not limiter.free(1)
            lease.is_out_of_reach = False
            assert await permit_of(limiter) is not None


async def test_a_lease_that_another_process_took_is_acquired_again(tmp_path: Path) -> None:
    """And what was sent meanwhile counts."""
    config, store = with_leases_that_end(tmp_path, "20/min burst")
    leases = QuotaLeases()
    limiter = leases.limiter(config.account("shop", ENVIRON), config)
    (quota,), (lease,) = leases.by_part.values(), store.leases
    other = QuotaLease(quota.part, limiter_of(Quota(20, 60.0, is_burst=True)), store)
    with anyio.fail_after(WITHIN_S):
        async with leases.kept(config):
            await opened(limiter)
            lease.release()  # as one that ended
            assert other.acquire()
            while limiter.is_open:
                await anyio.sleep(0.01)
            other.record([AgeCount(0.5, 15)])
            other.release()
            await opened(limiter)
            assert limiter.free(20) == 5


def test_what_is_recorded_after_a_loss_hides_nothing_that_others_recorded(tmp_path: Path) -> None:
    store = EndingStore(tmp_path / "ledger.db")
    quota, part = Quota(20, 60.0, is_burst=True), QuotaPart("group")
    late, other = (QuotaLease(part, limiter_of(quota), store) for _ in range(2))
    assert late.acquire()
    store.leases[0].release()  # as one that ended
    assert other.acquire()
    other.record([AgeCount(0.5, 15)])
    late.renew()
    assert not late.is_held
    late.record([AgeCount(0.4, 1)])  # these left before
    other.release()
    assert late.acquire()
    assert sum(each.many for each in late.take_over().ages) == 15 + 1


async def test_a_process_whose_last_send_times_are_not_on_record_can_send_again(
    tmp_path: Path,
) -> None:
    """And counts as many as may have left unrecorded."""
    config = configure(tmp_path, "http://127.0.0.1:1", quota='"20/s"')
    config.ledger_folder.mkdir()
    account = config.account("shop", ENVIRON)
    away = config.ledger.with_suffix(".away")
    leases = QuotaLeases()
    limiter = leases.limiter(account, config)
    async with leases.kept(config):
        await until_async(lambda: limiter.is_open)
        limiter.on_reply(await permit_of(limiter), limiter.now_s(), None)
        config.ledger.rename(away)
        config.ledger.mkdir()  # nothing can be recorded
    config.ledger.rmdir()
    away.rename(config.ledger)
    again = leases.limiter(account, config)
    async with leases.kept(config):
        await until_async(lambda: again.is_open)
        assert again.free(1) == 0
        await permit_of(again)
