"""A drop folder in a bucket: each object is sent once, by one watcher, and moved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen

import pytest

from pipeline.model.object_path import object_path
from pipeline.object_storage import open_bucket
from pipeline.watch import DropError
from pipeline.watch.bucket_drops import RETRY_S, BucketDrops
from tests.cli.command import environment, start, typed
from tests.object_server import SLOW_DOWN, ObjectServer, Proxy, after, replies
from tests.waiting import until
from tests.workplace import COLUMNS, Simulator, configure, coupon, row_of, simulator


def rows_of(first: int, last: int) -> str:
    return "\n".join([COLUMNS, *(coupon(row) for row in range(first, last + 1))]) + "\n"


@pytest.fixture
def vendor() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, vendor: Simulator, bucket: str) -> Path:
    return working_folder(tmp_path / "one", vendor, bucket)


def working_folder(folder: Path, vendor: Simulator, bucket: str, quota: str = "100000/s") -> Path:
    """One whose drop folder is in the bucket."""
    folder.mkdir()
    configure(folder, vendor.base_url, quota=f'"{quota}"', in_flight=1)
    text = (folder / "pipeline.toml").read_text()
    (folder / "pipeline.toml").write_text(f'inputs = "s3://{bucket}/drop"\n{text}')
    return folder


def sent(vendor: Simulator) -> list[str]:
    """The ids of the updates, in order."""
    return [f"c{row_of(line['body'])}" for line in vendor.get("log") if line["method"] == "PUT"]


@contextmanager
def watching(folder: Path, environ: dict[str, str]) -> Iterator[Popen[str]]:
    process = start(folder, "watch", env=environment(**environ))
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        print(out, err)
        assert "Traceback" not in out + err, err


def moved(objects: ObjectServer, bucket: str, kind: str) -> list[str]:
    """The names of the objects in `.done` or `.failed`, with the operation's folder."""
    parts = [key.split("/") for key in objects.keys(bucket)]
    return sorted(f"{part[1]}/{part[-1]}" for part in parts if kind in part)


def left(objects: ObjectServer, bucket: str) -> list[str]:
    """What is neither in `.done` nor in `.failed`: objects and marks."""
    hidden = ("/.done/", "/.failed/", "/.claimable")
    return [key for key in objects.keys(bucket) if not any(each in key for each in hidden)]


def test_dropped_objects_are_sent_once_and_moved(
    shop: Path, objects: ObjectServer, bucket: str, vendor: Simulator
) -> None:
    objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(1, 5))
    objects.put(bucket, "drop/xsolla.coupon/new/b.csv", rows_of(6, 9))
    objects.put(bucket, "drop/xsolla.coupon/broken.csv", "no,such,columns\n1,2,3\n")
    objects.put(bucket, "drop/xsolla.coupon/a.csv.part", "unfinished")

    done = typed(shop, "run", "--yes", **objects.environ())

    assert done.code == 1, done.err
    assert sorted(sent(vendor)) == [f"c{row}" for row in range(1, 10)]
    assert left(objects, bucket) == ["drop/xsolla.coupon/a.csv.part"]
    assert moved(objects, bucket, ".done") == [
        *("xsolla.coupon/a.csv", "xsolla.coupon/b.csv"),
        *("xsolla.coupon/report.txt", "xsolla.coupon/report.txt"),
    ]
    assert moved(objects, bucket, ".failed") == [
        *("xsolla.coupon/broken.csv", "xsolla.coupon/reason.txt"),
    ]
    assert not list((shop / ".pipeline").glob("drops-*/*/*.csv"))


def test_two_watchers_of_different_ledgers_send_each_object_once(
    tmp_path: Path, objects: ObjectServer, bucket: str, vendor: Simulator
) -> None:
    folders = [working_folder(tmp_path / name, vendor, bucket, "40/s") for name in ("one", "two")]
    for number in range(4):
        first = number * 10 + 1
        objects.put(bucket, f"drop/xsolla.coupon/{number}.csv", rows_of(first, first + 9))

    with watching(folders[0], objects.environ()), watching(folders[1], objects.environ()):
        until(lambda: not left(objects, bucket))

    assert sorted(sent(vendor)) == sorted(f"c{row}" for row in range(1, 41))
    assert len(moved(objects, bucket, ".done")) == 8


def test_a_killed_watcher_goes_on_where_it_was(
    tmp_path: Path, objects: ObjectServer, bucket: str, vendor: Simulator
) -> None:
    shop = working_folder(tmp_path / "one", vendor, bucket, "20/s")
    objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(1, 40))
    killed = start(shop, "watch", env=environment(**objects.environ()))
    until(lambda: len(sent(vendor)) > 5)
    killed.kill()
    killed.communicate()

    other = typed(
        working_folder(tmp_path / "two", vendor, bucket), "run", "--yes", **objects.environ()
    )
    with watching(shop, objects.environ()):
        until(lambda: not left(objects, bucket))

    assert "is claimed by process" in other.words
    assert other.code == 2
    ids = sent(vendor)
    assert set(ids) == {f"c{row}" for row in range(1, 41)}
    assert len(ids) <= 43  # some were in flight, or their replies not on record
    assert len(list((shop / "reports").glob("2*"))) == 1


def test_a_new_version_under_the_same_name_is_sent_too(
    shop: Path, objects: ObjectServer, bucket: str, vendor: Simulator, proxy: Proxy
) -> None:
    objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(1, 5))
    new = after(lambda: objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(6, 9)))
    proxy.add("PUT", ".done", new, 1)

    first = typed(shop, "run", "--yes", **objects.environ(proxy.url))
    second = typed(shop, "run", "--yes", **objects.environ())

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert sent(vendor) == [f"c{row}" for row in range(1, 10)]
    assert left(objects, bucket) == []


def test_a_file_that_was_sent_by_its_url_is_not_sent_again(
    shop: Path, objects: ObjectServer, bucket: str, vendor: Simulator
) -> None:
    url = objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(1, 5))
    typed(shop, "run", url, "--yes", **objects.environ())

    done = typed(shop, "run", "--yes", **objects.environ())

    assert done.code == 0, done.err
    assert "by an earlier run" in done.words
    assert len(sent(vendor)) == 5
    assert left(objects, bucket) == []


FAULTS = [
    # method, part of the path, how often; each for longer than the library tries
    ("PUT", ".processing", 7),
    ("GET", "a.csv", 28),
    ("PUT", ".done", 7),
    ("POST", "delete", 7),
]


@pytest.mark.parametrize(
    ("method", "part", "times"), FAULTS, ids=[f"{each[0]} {each[1]}" for each in FAULTS]
)
def test_after_an_outage_at_any_point_each_row_is_sent_once(
    shop: Path,
    objects: ObjectServer,
    bucket: str,
    vendor: Simulator,
    proxy: Proxy,
    *,
    method: str,
    part: str,
    times: int,
) -> None:
    objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(1, 5))
    proxy.add(method, part, replies(503, SLOW_DOWN), times)

    first = typed(shop, "run", "--yes", **objects.environ(proxy.url))
    second = typed(shop, "run", "--yes", **objects.environ(proxy.url))

    assert "Traceback" not in first.err + second.err
    assert second.code == 0, first.err + second.err
    assert sent(vendor) == [f"c{row}" for row in range(1, 6)]
    assert left(objects, bucket) == []
    assert moved(objects, bucket, ".failed") == []


def test_a_server_that_ignores_conditions_is_refused(
    shop: Path, objects: ObjectServer, bucket: str, proxy: Proxy
) -> None:
    objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(1, 5))

    def ignores(handler: object) -> bool:
        del handler.headers["If-None-Match"]
        return False

    proxy.add("PUT", ".claimable", ignores)
    done = typed(shop, "run", "--yes", **objects.environ(proxy.url))

    assert done.code == 2
    assert "two watchers could send one object" in done.words


def test_an_object_that_cannot_be_moved_is_tried_again_after_a_while(
    tmp_path: Path,
    objects: ObjectServer,
    bucket: str,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in objects.environ(proxy.url).items():
        monkeypatch.setenv(name, value)
    inputs = object_path(objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(1, 2))).parent
    now_s = [100.0]
    drops = BucketDrops(
        open_bucket(inputs),
        inputs,
        tmp_path / "state",
        letters=lambda: "abcd",
        is_ours=lambda _mark: False,
        now_s=lambda: now_s[0],
    )
    denied = (
        b"<DeleteResult><Error><Key>drop/xsolla.coupon/a.csv</Key><Code>AccessDenied</Code>"
        b"<Message>Access Denied</Message></Error></DeleteResult>"
    )
    proxy.add("POST", "delete", replies(200, denied))
    (file,) = drops.files()
    claim = drops.claim(file.path, datetime.now(UTC))
    assert claim is not None
    assert list(drops.files()) == []

    with pytest.raises(DropError, match=r"cannot be moved: .* \(delete; AccessDenied\)"):
        drops.quarantine(claim, "broken")
    drops.let_go(claim)

    assert list(drops.files()) == []
    now_s[0] += RETRY_S
    (again,) = drops.files()
    assert drops.claim(again.path, datetime.now(UTC)) == replace(claim, is_again=True)
