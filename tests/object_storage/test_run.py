"""Files in a bucket are checked, planned and sent as local files are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import environment, pipeline, start, typed
from tests.object_server import (
    DENIED,
    SLOW_DOWN,
    ObjectServer,
    Proxy,
    after,
    cuts,
    hangs_up,
    replies,
)
from tests.waiting import until
from tests.workplace import COLUMNS, Simulator, configure, coupon, simulator

ROWS = "\n".join([COLUMNS, *(coupon(row) for row in range(1, 31))]) + "\n"


@pytest.fixture(scope="session")
def vendor() -> Simulator:
    with simulator() as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, vendor: Simulator) -> Path:
    configure(tmp_path, vendor.base_url)
    return tmp_path


def summary_of(shop: Path) -> dict:
    return json.loads((shop / "reports" / "latest" / "summary.json").read_text())


@pytest.mark.parametrize(
    ("name", "content"),
    [("coupons.csv", ROWS.encode()), ("coupons.csv.gz", gzip.compress(ROWS.encode()))],
)
def test_an_object_is_sent_by_its_url(
    shop: Path, objects: ObjectServer, bucket: str, name: str, content: bytes
) -> None:
    url = objects.put(bucket, f"night/xsolla.coupon/{name}", content)

    done = typed(shop, "run", url, "--yes", **objects.environ())

    assert done.code == 0, done.err
    assert url in done.err
    summary = summary_of(shop)
    assert (summary["input"]["file"], summary["statuses"]["updated"]) == (url, 30)
    (run,) = (shop / ".pipeline" / "runs").iterdir()
    assert not list(run.glob("input*"))


def test_its_operation_is_named_by_a_part_of_its_key(
    shop: Path, objects: ObjectServer, bucket: str
) -> None:
    url = objects.put(bucket, "elsewhere/coupons.csv", ROWS)

    done = typed(shop, "check", url, **objects.environ())
    named = typed(shop, "check", url, "--operation", "xsolla.coupon", **objects.environ())

    assert done.code == 2
    assert url in done.err
    assert named.code == 0, named.err
    assert list((shop / ".pipeline" / "runs").iterdir()) == []


def test_invalid_rows_are_shown_with_the_url(
    shop: Path, objects: ObjectServer, bucket: str
) -> None:
    broken = ROWS.replace(",12,1,null", ",twelve,1,null")
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", broken)

    checked = typed(shop, "check", url, **objects.environ())
    sent = typed(shop, "run", url, "--yes", **objects.environ())

    assert (checked.code, sent.code) == (1, 1)
    assert f"{url}, row 11 (line 12)" in checked.out
    errors = (shop / "reports" / "latest" / "errors.csv").read_text()
    assert errors.count("\n") == 2


def test_a_broken_file_is_named_by_its_url(shop: Path, objects: ObjectServer, bucket: str) -> None:
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS.encode("utf-16"))

    done = typed(shop, "run", url, "--yes", **objects.environ())

    assert done.code == 2
    assert done.err.startswith(f"Error: {url}: is UTF-16")
    assert "iconv -f UTF-16LE -t UTF-8 coupons.csv > coupons-utf8.csv" in done.words
    assert ".pipeline" not in done.err
    assert list((shop / ".pipeline" / "runs").iterdir()) == []


def test_a_plan_is_made_of_an_object_and_sent_from_one(
    shop: Path, objects: ObjectServer, bucket: str
) -> None:
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS)

    made = typed(shop, "plan", url, "--out", "plan.parquet", **objects.environ())
    plan = objects.put(bucket, "plans/plan.parquet", (shop / "plan.parquet").read_bytes())
    done = typed(shop, "run", plan, "--yes", **objects.environ())

    assert made.code == 0, made.err
    assert url in made.err
    assert done.code == 0, done.err
    assert summary_of(shop)["input"]["file"] == plan


def test_the_same_content_again_is_a_repeat(shop: Path, objects: ObjectServer, bucket: str) -> None:
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS)
    typed(shop, "run", url, "--yes", **objects.environ())

    again = typed(shop, "check", url, **objects.environ())

    assert summary_of(shop)["run"] in again.out.replace("\n", "")


def test_a_run_id_sends_an_object_once(shop: Path, objects: ObjectServer, bucket: str) -> None:
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS)
    arguments = ("run", url, "--yes", "--run-id", "night")
    typed(shop, *arguments, **objects.environ())

    again = typed(shop, *arguments, **objects.environ())
    objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS.replace("row 7", "row seven"))
    other = typed(shop, *arguments, **objects.environ())

    assert again.code == 0
    assert "already finished with this id" in again.words
    assert other.code == 2
    assert "has other content" in other.words


FAULTS = [
    # what happens, to which request, how often, exit code, words; reason
    (replies(503, SLOW_DOWN), "GET", 2, 0, "", "throttled for a moment: tried again"),
    (hangs_up, "GET", 1, 0, "", "a lost connection: tried again"),
    (cuts, "GET", 1, 0, "", "a cut reply: read again"),
    (replies(503, SLOW_DOWN), "GET", 1000, 2, "asks for fewer requests", "throttled for good"),
    (replies(403, DENIED), "GET", 1000, 2, "403 SignatureDoesNotMatch", "wrong key"),
    (replies(403, DENIED), "HEAD", 1000, 2, "access was denied", "not allowed to look"),
]


@pytest.mark.parametrize(
    "fault",
    [each[:-1] for each in FAULTS],
    ids=[each[-1] for each in FAULTS],
)
def test_faults_of_the_storage_end_in_words(
    shop: Path,
    objects: ObjectServer,
    bucket: str,
    proxy: Proxy,
    fault: tuple[Any, ...],
) -> None:
    does, method, times, code, words = fault
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS)
    proxy.add(method, "coupons.csv", does, times)

    done = typed(shop, "run", url, "--yes", **objects.environ(proxy.url))

    assert done.code == code, done.err
    assert words in done.words
    if code:
        assert url in done.err
        assert list((shop / ".pipeline" / "runs").iterdir()) == []
    for secret in objects.environ().values():
        assert secret not in done.err or secret in {"us-east-1", objects.url}


def test_an_object_that_changes_while_it_is_read_is_not_sent(
    shop: Path, objects: ObjectServer, bucket: str, proxy: Proxy
) -> None:
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS)
    changes = after(lambda: objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS + ROWS))
    proxy.add("HEAD", "coupons.csv", changes, 1)

    done = typed(shop, "run", url, "--yes", **objects.environ(proxy.url))

    assert done.code == 2
    assert "changed while it was read, and nothing of it was sent" in done.words


MISSING = [
    ("s3://{bucket}/xsolla.coupon/none.csv", "there is no such object"),
    ("s3://no-such-bucket/xsolla.coupon/a.csv", "there is no such bucket"),
    ("s3://user:word@{bucket}/a.csv", "holds credentials"),
    ("s3://{bucket}/a//b.csv", "has an empty part"),
]


@pytest.mark.parametrize(("url", "words"), MISSING, ids=[each[1] for each in MISSING])
def test_an_url_that_names_nothing_is_refused(
    shop: Path, objects: ObjectServer, bucket: str, url: str, words: str
) -> None:
    done = typed(shop, "run", url.format(bucket=bucket), "--yes", **objects.environ())

    assert done.code == 2
    assert words in done.words
    assert "word@" not in done.err


def test_a_storage_that_is_away_is_named(shop: Path, objects: ObjectServer) -> None:
    gone = objects.environ("http://127.0.0.1:1")

    done = typed(shop, "check", "s3://bucket/xsolla.coupon/a.csv", **gone)

    assert done.code == 2
    assert "the storage does not answer at 127.0.0.1:1 (look up; no connection)" in done.words


def test_without_credentials_the_ways_to_give_them_are_named(
    shop: Path, objects: ObjectServer
) -> None:
    given = {"AWS_ENDPOINT_URL": objects.url, "AWS_EC2_METADATA_DISABLED": "true"}

    done = pipeline(shop, "check", "s3://bucket/a.csv", **given, HOME=str(shop))

    assert done.code == 2
    assert "no credentials were found. Set AWS_ACCESS_KEY_ID" in done.words


def test_a_profile_gives_credentials(shop: Path, objects: ObjectServer, bucket: str) -> None:
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS)
    profile = shop / "credentials"
    profile.write_text("[night]\naws_access_key_id = a\naws_secret_access_key = b\n")
    given = {
        "AWS_ENDPOINT_URL": objects.url,
        "AWS_PROFILE": "night",
        "AWS_SHARED_CREDENTIALS_FILE": str(profile),
    }

    done = pipeline(shop, "check", url, **given)

    assert done.code == 0, done.err


def test_a_killed_run_is_resumed_by_the_same_url(
    shop: Path, objects: ObjectServer, bucket: str, vendor: Simulator
) -> None:
    configure(shop, vendor.base_url, quota='"20/s"', in_flight=1)
    url = objects.put(bucket, "xsolla.coupon/coupons.csv", ROWS)
    killed = start(shop, "run", url, "--yes", env=environment(**objects.environ()))
    until(lambda: vendor.stats()["requests"] > 3)
    killed.kill()
    killed.communicate()

    done = typed(shop, "run", url, "--yes", **objects.environ())

    assert done.code == 0, done.err
    assert len(list((shop / ".pipeline" / "runs").iterdir())) == 1
    assert summary_of(shop)["statuses"]["updated"] == 30
