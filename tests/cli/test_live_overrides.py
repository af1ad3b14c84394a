"""`runs RUN --quota` slows a run down from another terminal."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.model.quota import Quota
from pipeline.store.on_files import FileStore
from pipeline.store.seam import Order
from tests.cli.command import Ended, ended, start, typed
from tests.waiting import until
from tests.workplace import Simulator, configure, coupon, drop

ROWS = 2_000


@contextmanager
def sending(folder: Path, vendor: Simulator) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A run at 100 requests a second, once it sends."""
    configure(folder, vendor.base_url, quota='"100/s"')
    drop(folder, *map(coupon, range(1, ROWS + 1)))
    process = start(folder, "run", "--yes")
    try:
        until(lambda: vendor.stats()["requests"] > 20)
        (run,) = (path.name for path in (folder / ".pipeline" / "runs").iterdir())
        yield run, process
    finally:
        process.kill()
        process.communicate()


def span_s(vendor: Simulator, requests: int) -> float:
    """How long the last so many took to arrive."""
    arrived = sorted(entry["arrived_s"] for entry in vendor.get("log"))
    return arrived[-1] - arrived[-requests]


def asked(folder: Path, run: str, *quota: str) -> Ended:
    return typed(folder, "runs", run, "--quota", *quota)


def test_a_run_is_slowed_down_and_let_go_again(shop, vendor):
    with sending(shop, vendor) as (run, process):
        done = asked(shop, run, "shop", "4/s")
        assert done.code == 0, done
        assert f"Process {process.pid} (" in done.out
        assert "shop now has a quota of at most 4/s" in done.out
        until(lambda: span_s(vendor, 9) >= 2.0, every_s=0.2)  # two windows of four, and one
        for quota, told in [("101/s", "is more than the quota of shop, 100/s"), ("x", "no quota")]:
            refused = asked(shop, run, "shop", quota)
            assert refused.code == 2
            assert told in refused.words.replace("is not a quota", "no quota")
        assert asked(shop, run, "shopp", "4/s").code == 2
        assert "the configured quota again" in asked(shop, run, "shop", "default").out
        until(lambda: span_s(vendor, 20) < 2.0, every_s=0.2)
        process.send_signal(signal.SIGINT)
        end = ended(process)
    assert "shop: at most 4/s from now on, as set by `pipeline runs --quota`" in end.words
    assert "shop: 100/s again, as configured" in end.words
    assert "slowed down to 4/s by `pipeline runs --quota`" in end.words
    (told,) = (json.loads(path.read_text()) for path in shop.glob("reports/2*/summary.json"))
    assert told["accounts"]["shop"]["slowed_to"] == "4/s"
    assert asked(shop, run, "shop", "4/s").code == 2  # no process works on it


def test_orders_for_an_earlier_process_are_forgotten(shop, vendor):
    with sending(shop, vendor) as (run, process):
        process.kill()
        process.communicate()
        orders = FileStore(shop / ".pipeline" / "ledger.db").orders
        orders.give(run, Order(is_stop=True, quotas={"shop": Quota(1, 1.0)}))
        resumed = start(shop, "resume", "--yes")
        before = vendor.stats()["requests"]
        until(lambda: vendor.stats()["requests"] > before + 50)
        resumed.send_signal(signal.SIGINT)
        assert "at most" not in ended(resumed).words
        assert orders.given(run) == Order()
