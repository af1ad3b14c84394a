"""A watcher dies amid a file in a bucket, and one on another machine goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.model.object_path import ObjectPath, object_path
from pipeline.object_storage import open_bucket
from pipeline.runs.registry import run_lease_of
from pipeline.vendors import load_vendors
from pipeline.watch import DropError
from pipeline.watch.bucket_drops import UNREAD_S, BucketDrops
from tests.cli.command import environment, start
from tests.object_server import ObjectServer, Proxy, ProxyHandler, hangs_up
from tests.object_storage.test_watch import left, moved, rows_of, watching, working_folder
from tests.postgres import PostgresServer
from tests.waiting import settled, until
from tests.workplace import ENVIRON, Simulator, row_of, simulator

ROWS = 80
SETTLED_S = 0.5


@pytest.fixture
def vendor() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


def sent_rows(vendor: Simulator) -> list[int]:
    """In order of arrival."""
    return [row_of(line["body"]) for line in vendor.get("log") if line["method"] == "PUT"]


def test_another_machine_goes_on_once_the_claim_has_lapsed(
    tmp_path: Path,
    objects: ObjectServer,
    bucket: str,
    vendor: Simulator,
    postgres: PostgresServer,
) -> None:
    url = postgres.new_database()
    one, two = (working_folder(tmp_path / name, vendor, bucket, "20/s") for name in ("one", "two"))
    for each in (one, two):
        text = (each / "pipeline.toml").read_text()
        (each / "pipeline.toml").write_text(f'ledger = "{url}"\n{text}')
    objects.put(bucket, "drop/xsolla.coupon/a.csv", rows_of(1, ROWS))
    killed = start(one, "watch", env=environment(**objects.environ()))
    until(lambda: len(sent_rows(vendor)) > ROWS // 4)
    killed.kill()
    killed.communicate()
    before = settled(lambda: sent_rows(vendor), SETTLED_S)  # what had left arrives
    recorded = {row for (row,) in postgres.execute("select row from pipeline.results", name(url))}
    (run,) = {run for (run,) in postgres.execute("select name from pipeline.runs", name(url))}
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=two)
    with closing(config.kept_store):
        until(lambda: not run_lease_of(config, run).is_alive())

    with watching(two, objects.environ()):
        until(lambda: not left(objects, bucket))

    again = sent_rows(vendor)[len(before) :]
    assert len(recorded) > ROWS // 8
    assert recorded.isdisjoint(again)
    assert {*before, *again} == set(range(1, ROWS + 1))
    assert len(again) == len({*again})
    assert moved(objects, bucket, ".done") == ["xsolla.coupon/a.csv", "xsolla.coupon/report.txt"]
    assert (len([*one.glob("reports/2*")]), len([*two.glob("reports/2*")])) == (0, 1)


def name(url: str) -> str:
    """The name of a database."""
    return url.partition("///")[2].partition("?")[0]


AGED = timedelta(seconds=UNREAD_S + 60)
YOUNG = timedelta(seconds=UNREAD_S / 2)


@pytest.fixture
def drops(
    tmp_path: Path,
    objects: ObjectServer,
    bucket: str,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], BucketDrops]:
    """Makes a machine of this name, with a ledger of its own; `a.csv` is dropped."""
    for name, value in objects.environ(proxy.url).items():
        monkeypatch.setenv(name, value)
    inputs: ObjectPath = object_path(objects.put(bucket, "drop/op/a.csv", rows_of(1, 2))).parent

    def made(machine: str) -> BucketDrops:
        found = BucketDrops(
            open_bucket(inputs),
            inputs,
            tmp_path / machine,
            letters=lambda: machine,
            is_ours=lambda _mark: False,
        )
        found.check_usable()
        return found

    return made


def claimed(drops: BucketDrops, after: timedelta = timedelta(0)):
    """The claim of the only file, made that much later."""
    (file,) = drops.files()
    return drops.claim(file.path, datetime.now(UTC) + after)


def test_an_old_claim_that_never_began_is_taken_over_and_its_owner_sends_nothing(drops) -> None:
    one, two = drops("one"), drops("two")
    slow = claimed(one)

    taken = claimed(two, AGED)

    assert taken.name.endswith("-two")
    with pytest.raises(DropError, match="was claimed by process"):
        one.record_run(slow, "run-one")
    assert two.recorded(two.record_run(taken, "run-two")).run == "run-two"
    one.let_go(slow)
    assert drops("one").unfinished() == []
    assert [each.run for each in drops("two").unfinished()] == ["run-two"]


def test_a_claim_whose_run_is_marked_at_that_moment_is_left(drops, proxy: Proxy) -> None:
    one, two = drops("one"), drops("two")
    slow = claimed(one)

    def marks_first(handler: ProxyHandler) -> bool:
        if "If-Match" in handler.headers and not two_tries:
            two_tries.append(handler)
            one.record_run(slow, "run-one")
        return False

    two_tries: list[ProxyHandler] = []
    proxy.add("PUT", ".processing", marks_first)
    with pytest.raises(DropError, match="was claimed by process"):
        claimed(two, AGED)
    assert [each.run for each in drops("one").unfinished()] == ["run-one"]
    assert drops("two").unfinished() == []


@pytest.mark.parametrize(
    ("after", "is_begun", "words"),
    [
        (YOUNG, False, "another watcher sends it 15 minutes after"),  # it may be about to begin
        (AGED, True, "see what it sent"),  # only its ledger knows
    ],
)
def test_a_claim_of_another_ledger_is_left(drops, after, is_begun, words) -> None:
    one = drops("one")
    claim = claimed(one)
    if is_begun:
        one.record_run(claim, "run-one")
    with pytest.raises(DropError, match=words):
        claimed(drops("two"), after)
    assert one.recorded(claim).name == claim.name


def test_a_takeover_whose_reply_is_lost_is_one(drops, proxy: Proxy) -> None:
    claimed(drops("one"))
    two = drops("two")

    def loses_the_reply(handler: ProxyHandler) -> bool:
        if "If-Match" not in handler.headers or lost:
            return False
        lost.append(handler.forward())
        return hangs_up(handler)

    lost: list[object] = []
    proxy.add("PUT", ".processing", loses_the_reply)
    assert claimed(two, AGED).name.endswith("-two")


def test_where_a_mark_cannot_be_replaced_safely_claims_stay(drops, proxy: Proxy) -> None:
    claimed(drops("one"))

    def ignores(handler: ProxyHandler) -> bool:
        del handler.headers["If-Match"]
        return False

    proxy.add("PUT", ".claimable", ignores)
    with pytest.raises(DropError, match="nothing was sent: remove s3://"):
        claimed(drops("two"), AGED)
