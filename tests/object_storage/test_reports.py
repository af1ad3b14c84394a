"""Reports are copied to a bucket, their summary last."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import typed
from tests.object_server import SLOW_DOWN, ObjectServer, Proxy, replies
from tests.object_storage.test_run import ROWS
from tests.workplace import Simulator, configure, drop, simulator


@pytest.fixture(scope="module")
def vendor() -> Simulator:
    with simulator() as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, vendor: Simulator, bucket: str) -> Path:
    """A working folder whose reports go to the bucket."""
    configure(tmp_path, vendor.base_url)
    text = (tmp_path / "pipeline.toml").read_text()
    (tmp_path / "pipeline.toml").write_text(f'reports = "s3://{bucket}/reports"\n{text}')
    drop(tmp_path, *ROWS.splitlines()[1:])
    return tmp_path


FILE = "inputs/xsolla.coupon/coupons.csv"


def run_of(shop: Path) -> str:
    (report,) = (path for path in (shop / "reports").iterdir() if path.name[0] == "2")
    return report.name


def check_whole(objects: ObjectServer, bucket: str, run: str) -> dict[str, Any]:
    """The summary in the bucket, whose files are those that it vouches for."""
    summary = json.loads(objects.get(bucket, f"reports/{run}/summary.json"))
    for each in summary["outputs"].values():
        content = objects.get(bucket, f"reports/{run}/{each['name']}")
        assert hashlib.sha256(content).hexdigest() == each["sha256"]
    return dict(summary)


def test_a_report_is_copied_with_its_summary_last(
    shop: Path, objects: ObjectServer, bucket: str, proxy: Proxy
) -> None:
    done = typed(shop, "run", FILE, "--yes", **objects.environ(proxy.url))

    assert done.code == 0, done.err
    run = run_of(shop)
    assert f"Report: s3://{bucket}/reports/{run}" in done.err
    assert check_whole(objects, bucket, run)["statuses"]["updated"] == 30
    written = [each for each in proxy.seen if each.startswith("PUT")]
    assert written[-1].endswith("/summary.json")
    assert len(written) == 5  # whether it may be written, two result files, a page, the summary


@pytest.mark.parametrize(
    ("does", "part", "words"),
    [
        (replies(503, SLOW_DOWN), "errors.csv", "asks for fewer requests"),
        (replies(403, b"<Error><Code>AccessDenied</Code></Error>"), "summary.json", "Allow it"),
    ],
    ids=["throttled", "denied"],
)
def test_a_failed_copy_ends_in_words_and_is_made_up_for(
    shop: Path,
    objects: ObjectServer,
    bucket: str,
    proxy: Proxy,
    *,
    does: Any,
    part: str,
    words: str,
) -> None:
    proxy.add("PUT", part, does)

    done = typed(shop, "run", FILE, "--yes", **objects.environ(proxy.url))
    run = run_of(shop)
    there = objects.keys(bucket)
    again = typed(shop, "runs", run, **objects.environ())

    assert done.code == 3
    assert "30 rows updated" in done.words
    assert "the report could not be copied" in done.words
    assert words in done.words
    assert f"`pipeline runs {run}` copies it" in done.words
    assert (shop / "reports" / run / "summary.json").exists()
    assert f"reports/{run}/summary.json" not in there
    assert again.code == 0, again.err
    check_whole(objects, bucket, run)


def test_a_bucket_that_takes_no_reports_is_noticed_before_a_row_is_sent(
    shop: Path, objects: ObjectServer, proxy: Proxy, vendor: Simulator
) -> None:
    proxy.add("PUT", "", replies(403, b"<Error><Code>AccessDenied</Code></Error>"))
    before = vendor.stats()["requests"]

    done = typed(shop, "run", FILE, "--yes", **objects.environ(proxy.url))

    assert done.code == 3
    assert "reports cannot be written: s3://" in done.words
    assert "Nothing was sent" in done.words
    assert vendor.stats()["requests"] == before


def test_doctor_tells_of_both(shop: Path, objects: ObjectServer, bucket: str, proxy: Proxy) -> None:
    text = (shop / "pipeline.toml").read_text()
    (shop / "pipeline.toml").write_text(f'inputs = "s3://{bucket}/drop"\n{text}')

    fine = typed(shop, "doctor", **objects.environ())
    proxy.add("PUT", ".claimable", ignores_conditions)
    no_conditions = typed(shop, "doctor", **objects.environ(proxy.url))

    assert "inputs: s3://" in fine.out
    assert "object storage: reports: s3://" in fine.out
    assert "two watchers could send one object" in no_conditions.out
    assert no_conditions.code == 2


def ignores_conditions(handler: Any) -> bool:
    del handler.headers["If-None-Match"]
    return False
