"""The command as it is left alone with a folder."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from pathlib import Path

import anyio
import polars as pl
import pytest

from pipeline.cli.drops import drops_of
from pipeline.config import load_config
from pipeline.model.panics import is_panic
from pipeline.run import prepare
from pipeline.runs import RunOptions
from pipeline.vendors import load_vendors
from pipeline.watch import Event, ExpectedFileMissing, Heartbeat, Watcher, parse_expectation
from pipeline.watch.notes import Claim, FileIdentity, Notes
from tests.cli.command import Ended, ended, environment, start, typed
from tests.stopping import stop_between_commits
from tests.waiting import until, until_async
from tests.workplace import (
    COLUMNS,
    ENVIRON,
    Simulator,
    configure,
    configure_all,
    coupon,
    row_of,
    simulator,
)


@pytest.fixture(scope="session")
def vendor():
    with simulator("--latency-ms", "10") as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, vendor: Simulator) -> Path:
    configure(tmp_path, vendor.base_url, quota='"40/s"')
    (tmp_path / "inputs" / "xsolla.coupon").mkdir(parents=True)
    return tmp_path


def drop(folder: Path, name: str, rows: int = 5) -> Path:
    path = folder / "inputs" / "xsolla.coupon" / name
    path.write_text("\n".join([COLUMNS, *map(coupon, range(1, rows + 1)), ""]))
    return path


def lying(folder: Path, kind: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"inputs/*/{kind}/*/*.csv"))


@pytest.fixture
def watching():
    """Starts a watcher; none outlives its test."""
    begun: list[subprocess.Popen[str]] = []

    def begin(folder: Path, *options: str) -> subprocess.Popen[str]:
        begun.append(start(folder, "watch", "--settle", "0.2", *options))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def as_if_not_put_away(folder: Path) -> None:
    """The one file that was done as it was before that: claimed, with its run on record."""
    (done,) = folder.glob("inputs/xsolla.coupon/.done/*")
    (file,) = done.glob("*.csv")
    summary = json.loads((done / "report" / "summary.json").read_text())
    (done / "report").unlink()
    done.rename(done.parent.parent / ".processing" / done.name)
    inputs, home = folder / "inputs", done.parent.parent
    sent = home / ".processing" / done.name / file.name
    Notes(folder / ".pipeline" / "drops", inputs).write(
        Claim(
            name=done.name,
            file=home / file.name,
            home=home,
            stored=file.name,
            read=FileIdentity.of(sent.stat()),
            sha256=summary["input"]["sha256"],
            run=summary["run"],
        )
    )


def stopped(process: subprocess.Popen[str]) -> Ended:
    process.send_signal(signal.SIGTERM)
    return ended(process)


def test_a_second_watcher_waits_and_takes_over(shop, watching):
    first = watching(shop)
    drop(shop, "a.csv")
    until(lambda: lying(shop, ".done") == ["a.csv"])
    second = watching(shop)
    assert typed(shop, "run", "--yes").code == 4  # the folder is looked after
    first.kill()
    first.communicate()
    drop(shop, "b.csv")
    until(lambda: lying(shop, ".done") == ["a.csv", "b.csv"])
    told = stopped(second)
    assert told.code == 143
    assert f"is watched by process {first.pid}" in told.err or "b.csv: claimed" in told.err


def test_what_is_under_way_at_a_signal_is_resumed_by_the_next(shop, vendor, watching):
    drop(shop, "a.csv", rows=200)
    before = vendor.stats()["requests"]
    process = watching(shop)
    until(lambda: vendor.stats()["requests"] > before + 5)
    told = stopped(process)
    assert told.code == 143
    assert "the next start resumes it" in told.err
    assert lying(shop, ".processing") == ["a.csv"]
    done = typed(shop, "run", "--yes")
    assert done.code == 0, done
    assert lying(shop, ".done") == ["a.csv"]
    (report,) = shop.glob("inputs/*/.done/*/report/summary.json")
    summary = json.loads(report.read_text())
    assert summary["statuses"]["updated"] == 200
    assert summary["input"]["file"] == "inputs/xsolla.coupon/a.csv"


def test_files_of_one_account_keep_their_order_over_a_restart(shop, watching, vendor):
    """All of one coupon, taken by a process that was killed at once."""
    count = 16
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=shop)
    for number in range(1, count + 1):
        file = drop(shop, f"{number}.csv", rows=0)
        file.write_text(f"{COLUMNS}\n{coupon(number, 'one')}\n")
        assert drops_of(config).claim(file, datetime.now(UTC))
    before = len(list(vendor.get("log")))
    process = watching(shop)
    until(lambda: len(lying(shop, ".done")) == count)
    assert stopped(process).code == 143
    sent = [row_of(each["body"]) for each in list(vendor.get("log"))[before:]]
    assert sent == list(range(1, count + 1))


def test_a_run_that_ended_before_its_file_was_moved_is_not_begun_again(shop, vendor):
    """Killed between the report and the rename."""
    drop(shop, "a.csv")
    assert typed(shop, "run", "--yes").code == 0
    as_if_not_put_away(shop)
    before = vendor.stats()["requests"]
    again = typed(shop, "run", "--yes")
    assert again.code == 0
    assert "All 5 rows updated (by an earlier run)" in again.err
    assert vendor.stats()["requests"] == before
    assert lying(shop, ".done") == ["a.csv"]


def test_a_no_puts_the_file_back(shop, vendor):
    drop(shop, "a.csv")
    before = vendor.stats()["requests"]
    assert typed(shop, "run").code == 2  # nobody is there to ask
    assert (shop / "inputs/xsolla.coupon/a.csv").exists()
    assert not lying(shop, ".processing")
    assert vendor.stats()["requests"] == before
    assert typed(shop, "runs", "--json").out == ""


@pytest.mark.parametrize("options", [("--limit", "2"), ("--rows", "1-2")])
def test_a_part_of_a_file_is_not_sent_from_where_files_are_moved_to(shop, options):
    """The other rows would be gone with it."""
    file = drop(shop, "a.csv")
    done = typed(shop, "run", "--yes", *options)
    assert done.code == 2
    assert "need a file name" in done.words
    assert file.exists()


def test_a_run_that_somebody_resumes_by_hand_is_left_to_them(shop, vendor, watching):
    drop(shop, "a.csv", rows=200)
    before = vendor.stats()["requests"]
    process = watching(shop)
    until(lambda: vendor.stats()["requests"] > before)
    process.kill()
    process.communicate()
    before = vendor.stats()["requests"]
    by_hand = start(shop, "resume", "--yes")
    until(lambda: vendor.stats()["requests"] > before)
    stop_between_commits(
        by_hand.pid, shop / ".pipeline" / "ledger.db"
    )  # it does not end before the others have looked
    assert f"running (process {by_hand.pid}" in " ".join(typed(shop, "runs").out.split())
    typed(shop, "run", "--yes")
    assert lying(shop, ".failed") == []
    assert lying(shop, ".processing") == ["a.csv"]
    by_hand.send_signal(signal.SIGCONT)
    assert ended(by_hand).code == 0
    assert typed(shop, "run", "--yes").code == 0
    assert lying(shop, ".done") == ["a.csv"]


def test_a_simulated_run_leaves_the_folder_as_it_is(shop):
    drop(shop, "a.csv")
    assert typed(shop, "run", "--simulate").code == 0
    assert (shop / "inputs/xsolla.coupon/a.csv").exists()


def test_a_stopped_account_quarantines_the_file_and_says_how_to_continue(shop):
    drop(shop, "a.csv")
    text = (shop / "pipeline.toml").read_text()
    (shop / "key").write_text("wrong")
    (shop / "pipeline.toml").write_text(text.replace("env:SHOP_KEY", "file:key"))
    assert typed(shop, "run", "--yes").code == 3
    (reason,) = shop.glob("inputs/*/.failed/*/reason.txt")
    assert "pipeline resume" in reason.read_text()
    assert (reason.parent / "report" / "summary.json").exists()
    (shop / "key").write_text("simulator-key")
    assert "All 5 rows updated" in typed(shop, "resume", "--yes").err  # the first one, too


def test_a_signal_after_the_last_row_keeps_nothing_back(shop):
    """Its run ended with 143, and there is nothing to carry on."""
    drop(shop, "a.csv")
    assert typed(shop, "run", "--yes").code == 0
    (done,) = shop.glob("inputs/xsolla.coupon/.done/*")
    summary = next(done.glob("report/summary.json"))
    text = summary.read_text()
    summary.write_text(text.replace('"exit_code": 0', '"exit_code": 143'))
    as_if_not_put_away(shop)
    typed(shop, "run", "--yes")
    assert lying(shop, ".done") == ["a.csv"]


def test_a_name_that_is_no_utf_8_is_quarantined_and_the_others_continue(shop, watching):
    process = watching(shop)
    drop(shop, "\udcff.csv")
    drop(shop, "a.csv")
    until(lambda: lying(shop, ".done") == ["a.csv"])
    until(lambda: lying(shop, ".failed") == ["%FF.csv"])
    drop(shop, "b.csv")
    until(lambda: lying(shop, ".done") == ["a.csv", "b.csv"])
    assert stopped(process).code == 143


def test_a_disk_that_refuses_stops_the_watcher_and_the_file_waits(shop):
    """Nothing of what it would send could be put on record; a restart must not lose the file."""
    runs = shop / ".pipeline" / "runs"
    runs.parent.mkdir(exist_ok=True)
    runs.write_text("in the way")
    drop(shop, "a.csv")
    done = typed(shop, "watch", "--settle", "0.1")
    assert done.code == 3, done
    assert lying(shop, ".processing") == ["a.csv"]
    runs.unlink()
    assert typed(shop, "run", "--yes").code == 0
    assert lying(shop, ".done") == ["a.csv"]


def test_what_is_not_the_files_fault_leaves_it_where_it_was(shop):
    file = drop(shop, "a.csv")
    (shop / "key").write_text("")
    text = (shop / "pipeline.toml").read_text()
    (shop / "pipeline.toml").write_text(text.replace("env:SHOP_KEY", "file:key"))
    done = typed(shop, "run", "--yes")
    assert done.code == 2
    assert "is empty" in done.words
    assert file.exists()
    assert not lying(shop, ".failed")


def test_a_missing_secret_stops_the_watcher_and_the_file_waits(shop):
    file = drop(shop, "a.csv")
    process = start(shop, "watch", "--settle", "0.1", env=environment(SHOP_KEY=""))
    told = ended(process)
    assert told.code == 2
    assert "SHOP_KEY" in told.words
    assert lying(shop, ".processing") == ["a.csv"]
    assert typed(shop, "run", "--yes").code == 0
    assert lying(shop, ".done") == [file.name]


def test_files_of_an_account_that_is_in_other_shares_wait_and_no_other_does(shop, watching, vendor):
    """A run by hand was killed; the watcher is not."""
    elsewhere = shop / "by_hand.csv"
    elsewhere.write_text("\n".join([COLUMNS, coupon(1), ""]))
    config = configure(shop, vendor.base_url, more="shares = 4")
    by_hand = prepare(elsewhere, config, RunOptions(operation="xsolla.coupon"))
    by_hand.lease.release()
    configure_all(shop, vendor)
    process = watching(shop)
    file = drop(shop, "a.csv")
    until(lambda: lying(shop, ".processing") == ["a.csv"])
    statuses = shop / "inputs" / "oracle.offer-status"
    statuses.mkdir()
    (statuses / "b.csv").write_text("offer_id,status\n0.0.0.1+-purchased_product+1,inactive\n")
    until(lambda: lying(shop, ".done") == ["b.csv"])
    assert lying(shop, ".processing") == ["a.csv"]
    told = stopped(process)
    assert told.code == 143
    assert f"run {by_hand.run} is unfinished and began with shares = 4" in told.words
    assert typed(shop, "runs", by_hand.run, "--prune").code == 0
    assert typed(shop, "run", "--yes").code == 0
    assert file.name in lying(shop, ".done")


def test_a_folder_in_which_nothing_can_be_moved_stops_no_other(shop, watching, vendor):
    """Its file stays and is reported once, however often it is tried."""
    file = drop(shop, "a.csv")
    (file.parent / ".processing").write_text("in the way")
    told = typed(shop, "run", "--yes")
    assert told.code == 2
    assert told.words.count("a.csv cannot be claimed") == 1
    assert ".processing is a link, or not a folder" in told.words
    process = watching(shop)
    rows = file.read_text().replace("attribute_conditions", "attribute_conditions,operation")
    good = rows.replace("omit", "omit,xsolla.coupon")
    (shop / "inputs" / "good.csv").write_text(good)
    until(lambda: [*shop.glob("inputs/.done/*/good.csv")])
    time.sleep(1.0)
    told = stopped(process)
    assert told.code == 143
    assert told.words.count("a.csv cannot be claimed") == 1
    assert file.exists()


def test_what_run_has_sent_from_there_is_moved_and_not_sent_again(shop, vendor, watching):
    file = drop(shop, "a.csv")
    assert typed(shop, "run", "--yes", str(file)).code == 0
    before = vendor.stats()["requests"]
    process = watching(shop)
    until(lambda: lying(shop, ".done") == ["a.csv"])
    told = stopped(process)
    assert vendor.stats()["requests"] == before
    assert "and unchanged since. Nothing was sent" in told.words
    (report,) = shop.glob("inputs/*/.done/*/report/summary.json")
    assert json.loads(report.read_text())["statuses"]["updated"] == 5


@pytest.mark.parametrize(
    "again",
    [
        lambda path: path.write_text(path.read_text()),  # written anew
        lambda path: path.rename(path.with_name("b")).rename(path),  # moved away and back
        lambda path: (
            path.with_name("b").write_text(path.read_text()) and path.with_name("b").replace(path)
        ),  # another file of that content
        lambda path: path.rename(path.with_name("b.csv")),  # at another place
    ],
    ids=["written", "moved", "replaced", "renamed"],
)
def test_the_same_content_dropped_anew_is_sent_with_a_warning(shop, vendor, watching, again):
    file = drop(shop, "a.csv")
    assert typed(shop, "run", "--yes", str(file)).code == 0
    (run,) = (path.name for path in shop.glob(".pipeline/runs/*"))
    again(file)
    (name,) = (each.name for each in file.parent.glob("*.csv"))
    before = vendor.stats()["requests"]
    process = watching(shop)
    until(lambda: lying(shop, ".done"))
    told = stopped(process)
    assert vendor.stats()["requests"] == before + 5
    assert (
        f"Warning: inputs/xsolla.coupon/{name}: the same content was sent before: {run}"
        in told.words
    )


def test_a_file_whose_last_line_has_no_end_is_warned_of(shop, watching):
    file = drop(shop, "a.csv")
    file.write_text(file.read_text().rstrip("\n"))
    process = watching(shop)
    until(lambda: lying(shop, ".done") == ["a.csv"])
    assert "was the file cut?" in stopped(process).words


def test_a_part_that_run_has_sent_does_not_stand_for_the_whole(shop, vendor):
    file = drop(shop, "a.csv")
    assert typed(shop, "run", "--yes", "--limit", "2", str(file)).code == 0
    before = vendor.stats()["requests"]
    assert typed(shop, "run", "--yes").code == 0
    assert vendor.stats()["requests"] == before + 5


def test_a_file_that_grows_after_it_was_taken_is_quarantined(shop, vendor, watching):
    """By a writer who opens it anew, which no process can be kept from."""
    drop(shop, "a.csv", rows=240)
    process = watching(shop, "--log", "json", "--metrics-file", "metrics.prom")
    until(lambda: list(shop.glob(".pipeline/runs/*/run.json")))
    (path,) = shop.glob("inputs/*/.processing/*/a.csv")
    with path.open("a") as file:
        file.write(f"{coupon(241)}\n")
    until(lambda: lying(shop, ".failed") == ["a.csv"])
    told = stopped(process)
    why = (
        "the file changed after it was claimed: 240 rows were sent, it is longer now; drop it again"
    )
    (reason,) = shop.glob("inputs/*/.failed/*/reason.txt")
    assert reason.read_text() == f"{why}\n"
    events = [json.loads(line) for line in told.err.splitlines()]
    assert [each["why"] for each in events if each["event"] == "quarantined"] == [why]
    assert lying(shop, ".done") == []


def old_claim(shop: Path, run: str, *, rows: int) -> Path:
    """As an earlier version left it: the note beside the file, in the drop folder."""
    file = drop(shop, "a.csv", rows=rows)
    claim = file.parent / ".processing" / "20260501T020000.000000Z-abcd"
    claim.mkdir(parents=True)
    file.rename(claim / "a.csv")
    (claim / "claim.json").write_text(json.dumps({"file": "xsolla.coupon/a.csv", "run": run}))
    return claim


@pytest.mark.parametrize(
    ("rows", "requests"),
    [(5, 0), (6, 6)],
    ids=["its content: only put away", "other content: dropped now"],
)
def test_a_claim_of_an_earlier_version_is_believed_by_its_content(shop, vendor, rows, requests):
    typed(shop, "run", "--yes", str(drop(shop, "a.csv")))
    (run,) = (path.name for path in shop.glob(".pipeline/runs/*"))
    (shop / "inputs/xsolla.coupon/a.csv").unlink()
    old_claim(shop, run, rows=rows)
    before = vendor.stats()["requests"]
    assert typed(shop, "run", "--yes").code == 0
    assert vendor.stats()["requests"] == before + requests
    assert lying(shop, ".done") == ["a.csv"]
    assert not lying(shop, ".processing")
    assert not list(shop.glob("inputs/*/.processing/*"))


def test_a_claim_of_an_earlier_version_resumes_its_run_with_the_same_options_only(shop, vendor):
    file = drop(shop, "a.csv")
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=shop)
    begun = prepare(file, config, RunOptions(allow_irreversible=True))
    begun.lease.release()
    file.unlink()
    old_claim(shop, begun.run, rows=5)
    before = vendor.stats()["requests"]
    assert typed(shop, "run", "--yes").code == 2
    assert vendor.stats()["requests"] == before
    (reason,) = shop.glob("inputs/*/.failed/*/reason.txt")
    assert f"Continue with `pipeline resume {begun.run}`" in reason.read_text()


async def test_a_panic_of_a_library_stops_no_other_file(shop):
    """While the first of two is sent."""
    for name in ("a.csv", "b.csv"):
        drop(shop, name)
        (shop / "inputs/xsolla.coupon" / f"{name}.done").touch()
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=shop)
    shown = count()

    def show(_poll: object) -> AbstractContextManager[object]:
        if next(shown) == 0:
            raise panic()
        return nullcontext()

    watcher = Watcher(
        drops_of(config),
        config,
        RunOptions(),
        environ=ENVIRON,
        tell=lambda _event: None,
        say=lambda _words: None,
        show=show,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        with anyio.fail_after(60):
            while not (lying(shop, ".failed") and lying(shop, ".done")):
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    (reason,) = shop.glob("inputs/*/.failed/*/reason.txt")
    assert "an error in a library" in reason.read_text()


def test_what_a_panic_is():
    assert is_panic(panic())
    assert is_panic(BaseExceptionGroup("", [panic(), ValueError()]))
    assert not is_panic(BaseExceptionGroup("", [panic(), KeyboardInterrupt()]))


def panic() -> BaseException:
    """What Rust raises through Python."""
    try:
        pl.Series([2**30], dtype=pl.Int32).cast(pl.Date).to_list()
    except BaseException as error:  # noqa: BLE001 - it is none
        return error
    raise AssertionError


@pytest.mark.parametrize("gone", ["inputs", ".pipeline", ".pipeline/ledger.db"])
def test_what_the_watcher_depends_on_is_gone_and_it_stops_at_once(shop, watching, gone):
    drop(shop, "a.csv")
    process = watching(shop)
    until(lambda: lying(shop, ".done") == ["a.csv"])
    time.sleep(0.6)
    (shop / gone).rename(shop / "elsewhere")
    told = ended(process)
    assert told.code == 3, told
    assert gone.rpartition("/")[2] in told.words
    if gone != "inputs":
        assert "removed or replaced while it was in use" in told.words


async def test_nothing_came_is_said_once(shop):
    """In a time zone in which it is about to be three o'clock."""
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=shop)
    drops, told = drops_of(config), list[Event]()
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    zone = timezone(timedelta(hours=2, minutes=59, seconds=58) - (now - midnight))
    watcher = Watcher(
        drops,
        config,
        RunOptions(),
        environ=ENVIRON,
        tell=told.append,
        say=lambda _words: None,
        show=nullcontext,
        expected=[parse_expectation("xsolla.coupon by 03:00")],
        zone=zone,
    )

    def missing() -> list[str]:
        return [str(each.expected) for each in told if isinstance(each, ExpectedFileMissing)]

    def heartbeats() -> int:
        return sum(isinstance(each, Heartbeat) for each in told)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        await until_async(missing)
        before = heartbeats()
        await until_async(lambda: heartbeats() > before + 2)
        tasks.cancel_scope.cancel()
    assert missing() == ["xsolla.coupon by 03:00"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--expect", "xsolla.coupon at 3"), 'as in "xsolla.coupon by 03:00"'),
        (("--expect", "xsolla.coupon by 25:00"), 'as in "xsolla.coupon by 03:00"'),
        (("--expect", "xsolla.coupon by 03:00"), "--expect needs a timezone"),
        (("--settle", "-1"), "x>=0"),
    ],
)
def test_wrong_options_are_reported(shop, options, told):
    done = typed(shop, "watch", *options)
    assert done.code == 2
    assert told in " ".join(done.err.replace("│", " ").split())
