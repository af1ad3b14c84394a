from __future__ import annotations

import os
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.model import RunAborted
from pipeline.store import Lock
from tests.quick_start import CODE, QuickPopen

HOLD = """
import sys, time
from pathlib import Path
from pipeline.store import Lock

assert Lock(Path(sys.argv[1])).acquire(wait=False)
print("held", flush=True)
time.sleep(600)
"""


def test_one_at_a_time(tmp_path):
    path = tmp_path / "shop.lock"
    with Lock(path) as first, Lock(path) as second:
        assert first.acquire(wait=False)
        assert first.acquire(wait=False)  # it is ours already
        assert not second.acquire(wait=False)
        first.release()
        assert second.acquire(wait=False)
        assert not first.acquire(wait=False)
    with Lock(path) as third:
        assert third.acquire(wait=False)


def test_locks_of_two_files_are_two(tmp_path):
    with Lock(tmp_path / "a") as first, Lock(tmp_path / "b") as second:
        assert first.acquire(wait=False)
        assert second.acquire(wait=False)


def test_the_file_names_the_holder(tmp_path):
    path = tmp_path / "shop.lock"
    with Lock(path, command="pipeline run coupons.csv") as lock:
        assert lock.holder() is None
        assert lock.acquire(wait=False)
        holder = Lock(path).holder()
        assert holder is not None
        assert holder[:2] == (os.getpid(), "pipeline run coupons.csv")
        assert timedelta(0) <= datetime.now(UTC) - holder.since < timedelta(minutes=1)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Lock(path).holder() is None


@pytest.mark.parametrize("content", [b"", b"junk", b"[]", b'{"pid": 1}', b"\xff"])
def test_a_file_without_a_holder_can_be_locked(tmp_path, content):
    path = tmp_path / "shop.lock"
    path.write_bytes(content)
    with Lock(path) as lock:
        assert lock.holder() is None
        assert lock.acquire(wait=False)
        assert lock.holder() is not None


def test_a_dead_process_holds_nothing(tmp_path):
    path = tmp_path / "shop.lock"
    child = QuickPopen([*CODE, HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "held\n"
        with Lock(path) as lock:
            assert not lock.acquire(wait=False)
            assert lock.holder().pid == child.pid
            child.kill()
            child.wait()
            assert lock.acquire(wait=False)
            assert lock.holder().pid == os.getpid()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_lock_can_be_waited_for(tmp_path):
    path = tmp_path / "shop.lock"
    got = []
    with Lock(path) as first:
        assert first.acquire(wait=False)
        waiting = Lock(path)
        thread = threading.Thread(target=lambda: got.append(waiting.acquire(wait=True)))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        first.release()
        thread.join(30)
    assert got == [True]
    waiting.release()


def test_a_place_that_cannot_be_written_gives_a_clear_error(tmp_path):
    with pytest.raises(RunAborted, match=r"shop\.lock cannot be used: No such file or directory$"):
        Lock(Path(tmp_path / "nowhere" / "shop.lock")).acquire(wait=False)
