"""An object is copied in parts that all are of one version."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.model import InputError
from pipeline.model.object_path import ObjectPath, object_path
from pipeline.object_storage import Bucket, ObjectStorageError, fetch, open_bucket
from tests.object_server import ObjectServer, Proxy, after, cuts, delays, hangs_up, replies

CONTENT = bytes(range(256)) * 41  # eleven parts of 1,000 bytes, the last one shorter
KEY = "deep/er/big.parquet"


@pytest.fixture
def opened(
    objects: ObjectServer, bucket: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> tuple[Bucket, ObjectPath]:
    for name, value in objects.environ(proxy.url).items():
        monkeypatch.setenv(name, value)
    path = object_path(objects.put(bucket, KEY, CONTENT))
    return open_bucket(path), path


def fetched(opened: tuple[Bucket, ObjectPath], target: Path) -> str:
    bucket, path = opened
    found = fetch(bucket, bucket.facts(path), target, part_bytes=1000, sleep=lambda _s: None)
    return found.sha256


def test_a_large_object_is_read_in_parts(
    opened: tuple[Bucket, ObjectPath], proxy: Proxy, tmp_path: Path
) -> None:
    sha256 = fetched(opened, tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert [each.split()[0] for each in proxy.seen].count("GET") == 11


def nth(number: int, does: Callable[..., bool]) -> Callable[..., bool]:
    """Do this to that request and none other."""
    seen = []

    def counted(handler: object) -> bool:
        seen.append(handler)
        return len(seen) == number and does(handler)

    return counted


@pytest.mark.parametrize(
    "does",
    [cuts, hangs_up, delays(0.3), replies(500), replies(429)],
    ids=["cut", "no reply", "late", "500", "429"],
)
def test_only_the_part_that_failed_is_read_again(
    opened: tuple[Bucket, ObjectPath], proxy: Proxy, tmp_path: Path, does: Callable[..., bool]
) -> None:
    proxy.add("GET", KEY, nth(5, does))

    fetched(opened, tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert [each.split()[0] for each in proxy.seen].count("GET") in {11, 12}


def test_a_change_between_two_parts_is_noticed(
    opened: tuple[Bucket, ObjectPath],
    objects: ObjectServer,
    proxy: Proxy,
    tmp_path: Path,
    bucket: str,
) -> None:
    other = CONTENT[:-1] + b"x"  # as long as before
    proxy.add("GET", KEY, nth(5, after(lambda: objects.put(bucket, KEY, other))))

    with pytest.raises(InputError, match="changed while it was read, and nothing of it was sent"):
        fetched(opened, tmp_path / "copy")


def test_a_storage_without_etags_is_refused(
    opened: tuple[Bucket, ObjectPath], tmp_path: Path
) -> None:
    bucket, path = opened
    with pytest.raises(InputError, match="would stay unseen"):
        fetch(bucket, replace(bucket.facts(path), etag=""), tmp_path / "copy")


def test_an_installation_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(ObjectStorageError, match=r"pip install 'offer-pipeline\[cloud\]'"):
        open_bucket(ObjectPath("s3://bucket/a.csv"))
