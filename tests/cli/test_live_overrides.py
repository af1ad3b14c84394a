"""`runs RUN --quota` slows a run down from another terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.model.quota import Quota
from pipeline.run.live_overrides import FILE, read_overrides, write_override
from pipeline.store import Holder
from tests.cli.command import Ended, ended, start, typed
from tests.workplace import Simulator, configure, coupon, drop

ROWS = 2_000
HOLDER = Holder(17, "pipeline run", datetime(2026, 5, 1, tzinfo=UTC))


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


def until(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end_s, "it never came to it"
        time.sleep(0.02)


def rate(vendor: Simulator, seconds: float) -> float:
    before = vendor.stats()["requests"]
    time.sleep(seconds)
    return (vendor.stats()["requests"] - before) / seconds


def asked(folder: Path, run: str, *quota: str) -> Ended:
    return typed(folder, "runs", run, "--quota", *quota)


@pytest.mark.quiet("counts requests per second")
def test_a_run_is_slowed_down_and_let_go_again(shop, vendor):
    with sending(shop, vendor) as (run, process):
        done = asked(shop, run, "shop", "4/s")
        assert done.code == 0, done
        assert f"Process {process.pid} (" in done.out
        assert "shop now has a quota of at most 4/s" in done.out
        time.sleep(1.5)
        assert rate(vendor, 1.5) <= 6
        for quota, told in [("101/s", "is more than the quota of shop, 100/s"), ("x", "no quota")]:
            refused = asked(shop, run, "shop", quota)
            assert refused.code == 2
            assert told in refused.words.replace("is not a quota", "no quota")
        assert asked(shop, run, "shopp", "4/s").code == 2
        assert "the configured quota again" in asked(shop, run, "shop", "default").out
        time.sleep(1.5)
        assert rate(vendor, 1) > 50
        process.send_signal(signal.SIGINT)
        end = ended(process)
    assert "shop: at most 4/s from now on, as set by `pipeline runs --quota`" in end.words
    assert "shop: 100/s again, as configured" in end.words
    assert "slowed down to 4/s by `pipeline runs --quota`" in end.words
    (told,) = (json.loads(path.read_text()) for path in shop.glob("reports/2*/summary.json"))
    assert told["accounts"]["shop"]["slowed_to"] == "4/s"
    assert asked(shop, run, "shop", "4/s").code == 2  # no process works on it


# The file


def test_what_is_asked_for_is_read_by_the_process_that_it_is_for(tmp_path):
    write_override(tmp_path, HOLDER, "shop", Quota(5, 1.0))
    write_override(tmp_path, HOLDER, "billing", Quota(100, 60.0, is_burst=True))
    assert read_overrides(tmp_path, HOLDER) == {
        "shop": Quota(5, 1.0),
        "billing": Quota(100, 60.0, True),
    }
    write_override(tmp_path, HOLDER, "shop", None)
    assert read_overrides(tmp_path, HOLDER) == {"billing": Quota(100, 60.0, is_burst=True)}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "other",
    [
        HOLDER._replace(pid=18),
        HOLDER._replace(since=HOLDER.since + timedelta(seconds=1)),  # the number was given again
        None,
    ],
)
def test_another_process_is_asked_for_nothing(tmp_path, other):
    write_override(tmp_path, HOLDER, "shop", Quota(5, 1.0))
    assert read_overrides(tmp_path, other) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 17}'])
def test_a_file_that_says_nothing_is_as_none(tmp_path, text):
    assert read_overrides(tmp_path, HOLDER) == {}
    (tmp_path / FILE).write_text(text)
    assert read_overrides(tmp_path, HOLDER) == {}
    write_override(tmp_path, HOLDER, "shop", Quota(5, 1.0))
    assert read_overrides(tmp_path, HOLDER) == {"shop": Quota(5, 1.0)}
