"""What `pipeline runs` knows of runs, whatever became of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.runs import open_store
from pipeline.store import Lock
from pipeline.store.on_files import FileStore
from tests.cli.command import ended, environment, start, typed
from tests.promises.test_signals import ROWS, assert_is_the_truth, reported, sending, stop
from tests.waiting import settled, until
from tests.workplace import configure, coupon, drop, simulator

INVALID = coupon(3).replace("elven_shield", "")
KEYS = {
    *(
        "format",
        "sequence",
        "run",
        "run_id",
        "source",
        "sha256",
        "rows",
        "operations",
        "accounts",
        "state",
    ),
    *("pid", "not_sent", "counts", "exit_code", "started", "ended", "repeats", "continues"),
    *("report", "made_of", "is_simulated"),
}


def listed(folder, *arguments):
    """The runs on record, newest first, as `--json` tells them."""
    done = typed(folder, "runs", "--json", *arguments)
    assert done.code == 0, done
    return [json.loads(line) for line in done.out.splitlines()]


def sent(folder, *lines, name="coupons.csv", more=()):
    """The name of a run that sent these lines."""
    path = drop(folder, *lines, name=name)
    typed(folder, "run", "--yes", *more, str(path))
    return listed(folder, "--limit", "1")[0]["run"]


def folder_of(folder, run):
    return folder / ".pipeline" / "runs" / run


@contextmanager
def registry(folder):
    yield FileStore(folder / ".pipeline" / "ledger.db").runs


def age(folder, run, days):
    """Let a run have ended so long ago."""
    with registry(folder) as runs:
        found = runs.get(run)
        runs.change_state(run, found.state, ended=datetime.now(UTC) - timedelta(days=days))
    tidied = folder / ".pipeline" / "tidied"
    os.utime(tidied, times=(0, time.time() - min(days, 1) * 86_400))


@contextmanager
def started(folder, *arguments):
    """The command, running; killed in the end."""
    process = start(folder, *arguments)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@contextmanager
def killed(folder, *, latency_ms=100):
    """A vendor, and the name of a run whose process was killed while it sent to it."""
    with simulator("--latency-ms", str(latency_ms)) as vendor, sending(folder, vendor) as process:
        until(lambda: vendor.stats()["requests"] >= 40)
        process.kill()
        process.communicate()
        settled(lambda: vendor.stats()["requests"], 3 * latency_ms / 1000)  # what had left before
        yield vendor, listed(folder)[0]["run"]


# The list


def test_looking_at_nothing_makes_nothing(tmp_path):
    done = typed(tmp_path, "runs")
    assert (done.code, done.out) == (0, "No runs yet.\n")
    assert listed(tmp_path) == []
    assert "Nothing to remove" in typed(tmp_path, "runs", "--prune").out
    assert list(tmp_path.iterdir()) == []


def test_runs_are_listed_newest_first_in_words_that_fit_80_columns(shop):
    first = sent(shop, *map(coupon, range(1, 4)), name="first.csv")
    second = sent(shop, coupon(1), coupon(2), INVALID, name="a-name-that-is-rather-long.csv")
    third = sent(shop, coupon(1), INVALID, name="third.csv", more=["--strict"])
    lines = typed(shop, "runs").out.splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert text.index(third) < text.index(second) < text.index(first)
    words = " ".join(text.split())
    assert "first.csv xsolla.coupon via shop finished: All 3 rows updated" in words
    assert "finished: 2 of 3 rows updated; 1 invalid" in words
    assert "refused: nothing was sent" in words
    found = listed(shop)
    assert [(each["run"], each["sequence"], each["exit_code"]) for each in found] == [
        (third, 3, 2),
        (second, 2, 1),
        (first, 1, 0),
    ]
    assert [each["state"] for each in found] == ["refused", "finished", "finished"]
    assert found[1]["counts"] == {
        **dict.fromkeys(found[1]["counts"], 0),
        "updated": 2,
        "invalid": 1,
    }
    assert {each["not_sent"] for each in found} == {0}
    assert all(each.keys() == KEYS for each in found)
    assert found[2]["report"] == str(shop / "reports" / first)


def test_the_list_is_as_long_as_was_asked(shop):
    names = [sent(shop, coupon(row), name=f"{row}.csv") for row in (1, 2, 3)]
    assert [each["run"] for each in listed(shop, "--limit", "2")] == [names[2], names[1]]
    assert "use --limit to list more than 2" in typed(shop, "runs", "--limit", "2").out
    assert "--limit" not in typed(shop, "runs", "--limit", "3").out
    with registry(shop) as runs:
        runs.change_state(names[1], "sending", counts={})
    assert [each["run"] for each in listed(shop, "--unfinished")] == [names[1]]


@pytest.mark.parametrize(
    ("since", "zone", "count"),
    [
        (timedelta(hours=-1), None, 1),
        (timedelta(hours=1), None, 0),
        (timedelta(hours=1), "Asia/Tokyo", 1),  # nine hours ahead: there it was eight hours ago
    ],
)
def test_a_time_without_an_offset_is_that_of_the_configured_zone(shop, since, zone, count):
    sent(shop, coupon(1))
    if zone:
        path = shop / "pipeline.toml"
        path.write_text(f'timezone = "{zone}"\n{path.read_text()}')
    given = (datetime.now(UTC) + since).replace(tzinfo=None).isoformat()
    assert len(listed(shop, "--since", given)) == count
    if not count:
        assert typed(shop, "runs", "--since", given).out == "No matching run.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("r", "--prune", "--older-than", "3"), "--older-than applies to all runs: leave out r"),
        (("no-such-run", "--prune"), "there is no run no-such-run"),
        (("r", "--entity", "xsolla.coupon:a"), "--entity applies to all runs"),
        (("r", "--limit", "3"), "--limit cannot be combined with RUN"),
        (("--stop",), "--stop needs RUN"),
        (("--prune", "--stop"), "--stop cannot be combined with --prune"),
        (("--older-than", "0"), "--older-than cannot be combined with the list of runs"),
        (("r", "--stop", "--dry-run"), "--dry-run cannot be combined with --stop"),
        (("--since", "May"), "--since 'May' is not a date"),
        (("--since", "0001-01-01T00:00+05:00"), "is not a date"),  # before there was time
        (("--entity", "xsolla.cupon:a"), "did you mean xsolla.coupon?"),
        (("--entity", "zzz:a"), "known: adobe.fallback-offer"),
        (("--entity", "xsolla.coupon"), "the operation: xsolla.coupon:ID"),
        (("no-such-run",), "there is no run no-such-run"),
        (("no-such-run", "--stop"), "there is no run no-such-run"),
        (("../runs", "--stop"), "there is no run ../runs"),
        (("--limit", "0"), "x>=1"),
        (("--prune", "--older-than", "-1"), "0<=x<=36500"),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path, arguments, words):
    done = typed(tmp_path, "runs", *arguments)
    assert done.code == 2
    assert words in done.words
    assert list(tmp_path.iterdir()) == []


# One run


def test_the_newest_run_can_be_called_latest(shop):
    sent(shop, coupon(1))
    newest = sent(shop, INVALID, coupon(2))
    assert f"reports/{newest}" in "".join(typed(shop, "runs", "latest").out.split())
    assert listed(shop, "latest")[0]["run"] == newest
    number = str(listed(shop, "latest")[0]["sequence"])
    assert listed(shop, number)[0]["run"] == newest
    assert typed(shop, "runs", "99" + number).code == 2
    assert typed(shop, "runs", "9" * 30).code == 2
    ended = typed(shop, "resume", "--failed", "latest", "--yes")
    assert (ended.code, newest in ended.words) == (0, True)
    assert typed(shop, "resume", "latest").code == 2


def test_where_nothing_ran_there_is_no_latest_run(tmp_path):
    ended = typed(tmp_path, "runs", "latest")
    assert (ended.code, "there is no run yet" in ended.words) == (2, True)


def test_a_report_that_is_there_is_shown_and_left_as_it_is(shop):
    run = sent(shop, coupon(1), INVALID)
    mended = shop / "reports" / run / "errors.csv"
    mended.write_text("mended by a person\n")
    done = typed(shop, "runs", run)
    assert done.code == 0, done
    assert "1 of 2 rows updated; 1 invalid" in done.out
    assert f"Report: {shop / 'reports' / run}" in done.out
    assert "has been written" not in done.out
    (told,) = listed(shop, run)
    assert told.keys() == KEYS | {"summary"}
    assert told["summary"]["run"] == run
    assert mended.read_text() == "mended by a person\n"


def test_the_report_of_a_finished_run_is_made_again_where_it_is_gone(shop, vendor):
    run = sent(shop, *map(coupon, range(1, 11)))
    shutil.rmtree(shop / "reports")
    assert listed(shop)[0]["report"] is None
    assert "has been written. Nothing was sent" in typed(shop, "runs", run).out
    assert json.loads((shop / "reports" / run / "summary.json").read_text())["statuses"][
        "updated"
    ] == len(list(vendor.get("log")))


def test_of_a_run_whose_files_are_gone_no_report_can_be_made(shop):
    run = sent(shop, coupon(1))
    shutil.rmtree(folder_of(shop, run))
    assert "1 of 1 row updated" in typed(shop, "runs", run).out
    shutil.rmtree(shop / "reports")
    done = typed(shop, "runs", run)
    assert done.code == 2
    assert "no report, and none can be made" in done.words


def test_a_killed_run_gets_its_report_and_every_row_one_status(tmp_path):
    with killed(tmp_path) as (vendor, run):
        assert "unfinished: its process was killed" in typed(tmp_path, "runs").out
        (found,) = listed(tmp_path)
        assert (found["state"], found["not_sent"], found["report"]) == ("unfinished", None, None)
        requests = vendor.stats()["requests"]
        done = typed(tmp_path, "runs", run)
        assert done.code == 0, done
        assert "has been written. Nothing was sent" in done.out
        assert f"Continue with `pipeline resume {run}`." in done.out
        assert vendor.stats()["requests"] == requests
        status = reported(tmp_path)
        page = (tmp_path / "reports" / run / "report.html").read_text(encoding="utf-8")
        assert "its process was killed" in page
        assert f"pipeline resume {run}" in page
        assert set(status.values()) <= {"updated", "unknown", "not_attempted"}
        assert {"updated", "not_attempted"} <= set(status.values())
        assert_is_the_truth(status, vendor)
        (found,) = listed(tmp_path)
        assert found["not_sent"] == list(status.values()).count("not_attempted")
        assert f"{found['not_sent']} rows not sent" in typed(tmp_path, "runs").out
        assert "has been written" not in typed(tmp_path, "runs", run).out  # the second time
        for row in (1, ROWS, *(row for row in status if status[row] == "unknown")):
            (touch,) = listed(tmp_path, "--entity", f"xsolla.coupon:c{row}")
            assert (touch["row"], touch["status"]) == (row, status[row])


def test_a_run_killed_at_the_embedded_simulator_gets_its_report(tmp_path):
    configure(tmp_path, "https://shop.example/v2", quota='"100/s"')
    path = drop(tmp_path, *map(coupon, range(1, ROWS + 1)))
    with started(tmp_path, "run", "--simulate", str(path)):
        until(lambda: any((tmp_path / ".pipeline" / "locks").glob("*")))
        time.sleep(0.3)  # some rows are sent, at 100/s by no means all
    (found,) = listed(tmp_path)
    assert found["state"] == "unfinished"
    done = typed(tmp_path, "runs", found["run"])
    assert done.code == 0, done
    assert "Simulated: no vendor was contacted." in done.out
    assert "not_attempted" in reported(tmp_path).values()


def test_a_report_from_before_a_killed_resume_is_made_anew(tmp_path, vendor):
    with sending(tmp_path, vendor) as process:
        until(lambda: vendor.stats()["requests"] >= 20)
        assert stop(process, signal.SIGTERM).code == 143
    before = reported(tmp_path)
    (found,) = listed(tmp_path)
    assert "has been written" not in typed(tmp_path, "runs", found["run"]).out
    requests = vendor.stats()["requests"]
    with started(tmp_path, "resume", "--yes"):
        until(lambda: vendor.stats()["requests"] >= requests + 40)
    assert "has been written" in typed(tmp_path, "runs", found["run"]).out
    after = reported(tmp_path)
    assert_is_the_truth(after, vendor)
    assert list(after.values()).count("updated") > list(before.values()).count("updated")


def test_a_run_killed_once_its_report_was_there_is_finished(shop):
    run = sent(shop, coupon(1), coupon(2))
    with registry(shop) as runs:
        runs.change_state(run, "sending", counts={})
    assert listed(shop)[0]["state"] == "unfinished"
    assert "has been written" not in typed(shop, "runs", run).out
    found = listed(shop)[0]
    assert (found["state"], found["counts"]["updated"]) == ("finished", 2)


def test_a_run_that_leads_elsewhere_now_is_left_alone(shop):
    run = sent(shop, coupon(1))
    shutil.rmtree(shop / "reports")
    configure(shop, "https://other.example/v2")
    done = typed(shop, "runs", run)
    assert done.code == 2
    assert "Use the configuration that it began with" in done.words


# One that is under way


def test_a_run_under_way_is_told_and_stopped_but_not_touched(tmp_path, vendor):
    configure(tmp_path, vendor.base_url, quota='"20/s"')  # it lasts longer than we look at it
    drop(tmp_path, *map(coupon, range(1, ROWS + 1)))
    with started(tmp_path, "run", "--yes") as process:
        until(lambda: vendor.stats()["requests"] >= 5)
        (found,) = listed(tmp_path)
        run = found["run"]
        assert (found["state"], found["pid"]) == ("under_way", process.pid)
        assert f"running (process {process.pid})" in typed(tmp_path, "runs").out
        told = typed(tmp_path, "runs", run)
        assert told.code == 0
        assert "The report is written at the end" in told.out
        assert "run --yes" in told.out
        assert listed(tmp_path, run)[0]["summary"] is None
        assert not list(tmp_path.glob("reports/*"))
        stopped = typed(tmp_path, "runs", run, "--stop")
        assert stopped.code == 0, stopped
        assert f"Stopping process {process.pid}" in stopped.out
        assert ended(process).code == 143
        status = reported(tmp_path)
        assert set(status.values()) == {"updated", "not_attempted"}
        assert_is_the_truth(status, vendor)
    again = typed(tmp_path, "runs", run, "--stop")
    assert again.code == 2
    assert "not under way" in again.words


def test_only_the_run_is_stopped_and_the_command_sends_the_next_file(tmp_path, vendor):
    configure(tmp_path, vendor.base_url, quota='"50/s"')
    drop(tmp_path, *map(coupon, range(1, ROWS + 1)), name="a.csv")
    drop(tmp_path, coupon(ROWS + 1, "last"), name="b.csv")
    with started(tmp_path, "run", "--yes") as process:
        until(lambda: vendor.stats()["requests"] >= 5)
        run = next(each["run"] for each in listed(tmp_path) if each["source"].endswith("a.csv"))
        began_s = time.monotonic()
        assert typed(tmp_path, "runs", run, "--stop").code == 0
        done = ended(process)
        assert time.monotonic() - began_s < 60
    assert "stopped by `pipeline runs --stop`" in done.words
    found = {each["run"]: each for each in listed(tmp_path)}
    assert found[run]["state"] == "unfinished"
    assert found[run]["exit_code"] == 143
    (other,) = (each for each in found.values() if each["run"] != run)
    assert other["counts"]["updated"] == 1


# Rows of an entity


def test_every_row_about_an_entity_is_told_oldest_first(shop):
    first = sent(shop, coupon(1, "a"), coupon(2, "b"), coupon(3, "a"), name="first.csv")
    second = sent(shop, coupon(1, "b"), coupon(2, "a"), name="second.csv")
    rows = listed(shop, "--entity", "xsolla.coupon:a")
    assert [(each["run"], each["row"], each["status"]) for each in rows] == [
        (first, 1, "updated"),
        (first, 3, "updated"),
        (second, 2, "updated"),
    ]
    assert [each["job"]["name"]["en-US"] for each in rows] == ["row 1", "row 3", "row 2"]
    text = typed(shop, "runs", "--entity", "xsolla.coupon:a").out
    assert f"{second}  row 2  updated" in text
    assert '{"external_id":"a","name":{"en-US":"row2"}' in "".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_an_entity_is_the_whole_id_and_nothing_else(shop):
    ids = ["a", "aa", "x|coupon|a", "A", "é:a"]
    sent(shop, *(coupon(row, id_) for row, id_ in enumerate(ids, 1)))
    for row, id_ in enumerate(ids, 1):
        assert [each["row"] for each in listed(shop, "--entity", f"xsolla.coupon:{id_}")] == [row]
    assert listed(shop, "--entity", "xsolla.bonus-promotion:a") == []
    none = typed(shop, "runs", "--entity", "xsolla.coupon:|a")
    assert "No recorded run has a row for the coupon |a" in none.out


def test_a_run_that_cannot_be_looked_into_is_told_and_the_others_are_shown(shop):
    gone, torn, whole = (sent(shop, coupon(row, "a"), name=f"{row}.csv") for row in (1, 2, 3))
    shutil.rmtree(folder_of(shop, gone))
    (folder_of(shop, torn) / "jobs-shop.parquet").write_bytes(b"PAR1")
    done = typed(shop, "runs", "--json", "--entity", "xsolla.coupon:a")
    assert [json.loads(line)["run"] for line in done.out.splitlines()] == [whole]
    assert f"run {gone} is left out: its files are gone" in done.err
    assert f"run {torn} could not be read" in done.err


# What may go


def test_finished_runs_go_when_they_are_old_and_their_reports_stay(shop):
    old, young, unfinished = (sent(shop, coupon(row), name=f"{row}.csv") for row in (1, 2, 3))
    with registry(shop) as runs:
        runs.change_state(unfinished, "sending", counts={"not_attempted": 4})
    age(shop, old, 91)
    age(shop, young, 89)
    age(shop, unfinished, 1000)
    dry = typed(shop, "runs", "--prune", "--dry-run")
    assert f"would be removed  {old}" in dry.out
    assert len(listed(shop)) == 3
    assert folder_of(shop, old).exists()
    done = typed(shop, "runs", "--prune")
    assert done.code == 0, done
    assert f"removed  {old}" in done.out
    assert "1 run removed: 0." in done.out
    assert f"{unfinished}  unfinished: 4 rows not sent" in done.out
    assert "pipeline resume RUN" in done.out
    assert young not in done.out
    assert [each["run"] for each in listed(shop)] == [unfinished, young]
    assert not folder_of(shop, old).exists()
    assert (shop / "reports" / old / "summary.json").exists()
    assert folder_of(shop, unfinished).exists()


@pytest.mark.parametrize(
    ("keep_days", "arguments", "goes"),
    [
        (None, (), False),
        (10, (), True),
        (11, ("--older-than", "11"), False),  # the command goes before the configuration
        (None, ("--older-than", "0"), True),
    ],
)
def test_how_old_is_old(shop, keep_days, arguments, goes):
    run = sent(shop, coupon(1))
    age(shop, run, 10.5)
    if keep_days:
        path = shop / "pipeline.toml"
        path.write_text(f"keep_days = {keep_days}\n{path.read_text()}")
    pruned = listed(shop, "--prune", *arguments)
    assert [(each["run"], each["removed"], each["state"]) for each in pruned] == (
        [(run, True, "finished")] if goes else []
    )
    assert all(each["bytes"] > 10_000 for each in pruned)
    assert folder_of(shop, run).exists() is not goes


def test_a_run_that_a_process_works_on_stays(shop):
    run = sent(shop, coupon(1))
    with Lock(folder_of(shop, run) / "lock") as lock:
        assert lock.acquire(wait=False)
        assert listed(shop, "--prune", "--older-than", "0") == []
    assert folder_of(shop, run).exists()
    assert len(listed(shop, "--prune", "--older-than", "0")) == 1


def test_an_entry_whose_files_are_gone_goes_too(shop):
    run = sent(shop, coupon(1))
    shutil.rmtree(folder_of(shop, run))
    assert listed(shop, "--prune", "--older-than", "0")[0]["bytes"] == 0
    assert listed(shop) == []


def test_what_never_came_to_be_a_run_goes_after_a_day(shop):
    sent(shop, coupon(1))
    runs = shop / ".pipeline" / "runs"
    torn = {
        "20260501T000000Z-old-abcd": 2,
        "20260501T000000Z-young-abcd": 0.9,  # days
        "20260501T000000Z-busy-abcd": 2,
        "20260501T000000Z-whole-abcd": 2,  # it may have been sent, and its ledger was exchanged
        "20260501T000000Z-unsent-whole-abcd": 2,
        "of-somebody-else": 2,
    }
    lock = Lock(runs / "20260501T000000Z-busy-abcd" / "lock")
    for name, days in torn.items():
        (runs / name).mkdir()
        (runs / name / "snapshot.parquet").write_bytes(bytes(5_000))
        (runs / name / "lock").touch()
        if "whole" in name:
            (runs / name / "run.json").touch()
        if "unsent" in name:
            (runs / name / "unsent").touch()
        if "busy" in name:
            assert lock.acquire(wait=False)
        then_s = time.time() - days * 86_400
        os.utime(runs / name, (then_s, then_s))
    with lock:
        assert typed(shop, "runs", "--prune", "--dry-run").code == 0
        assert all((runs / name).exists() for name in torn)
        done = typed(shop, "runs", "--prune")
    assert "20260501T000000Z-old-abcd" in done.out
    assert "it was not fully prepared" in done.out
    assert [name for name in torn if not (runs / name).exists()] == [
        "20260501T000000Z-old-abcd",
        "20260501T000000Z-unsent-whole-abcd",
    ]


def test_the_folder_of_a_run_that_the_registry_lost_stays(shop):
    run = sent(shop, coupon(1))
    with registry(shop) as runs:
        runs.forget(run)
    os.utime(folder_of(shop, run), (0, 0))
    assert listed(shop, "--prune", "--older-than", "0") == []
    assert folder_of(shop, run).exists()


def test_a_run_that_was_put_on_record_meanwhile_stays(shop, monkeypatch: pytest.MonkeyPatch):
    run = sent(shop, coupon(1))
    monkeypatch.setattr(FileStore, "torn", lambda _store: [run])
    assert listed(shop, "--prune") == []
    assert folder_of(shop, run).exists()


def test_a_folder_that_cannot_be_removed_is_told(shop, monkeypatch: pytest.MonkeyPatch):
    run = sent(shop, coupon(1))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pipeline.store.on_files.files.shutil.rmtree", refuse)
    done = typed(shop, "runs", "--prune", "--older-than", "0")
    assert done.code == 3
    assert "cannot be removed: Permission denied" in done.words
    assert [each["run"] for each in listed(shop)] == [run]


def test_one_run_goes_whatever_its_age_and_state(shop):
    unfinished, other = (sent(shop, coupon(row), name=f"{row}.csv") for row in (1, 2))
    with registry(shop) as runs:
        runs.change_state(unfinished, "sending", counts={"not_attempted": 4})
    with Lock(folder_of(shop, unfinished) / "lock") as lock:
        assert lock.acquire(wait=False)
        busy = typed(shop, "runs", unfinished, "--prune")
        assert busy.code == 2
        assert "a process works on run" in busy.words
    assert "would be removed" in typed(shop, "runs", unfinished, "--prune", "--dry-run").out
    assert folder_of(shop, unfinished).exists()
    done = typed(shop, "runs", unfinished, "--prune")
    assert done.code == 0, done
    assert "1 run removed" in done.out
    assert [each["run"] for each in listed(shop)] == [other]
    assert not folder_of(shop, unfinished).exists()


# What goes by itself


@pytest.mark.parametrize("command", ["run", "resume"])
def test_old_runs_go_by_themselves_once_a_command_has_sent(shop, command):
    old, young, unfinished = (sent(shop, coupon(row), name=f"{row}.csv") for row in (1, 2, 3))
    with registry(shop) as runs:
        runs.change_state(unfinished, "sending", counts={"not_attempted": 4})
    for run, days in ((old, 91), (young, 89), (unfinished, 91)):
        age(shop, run, days)
    if command == "run":
        done = typed(shop, "run", "--yes", str(drop(shop, coupon(4), name="4.csv")))
        assert f"Not finished, so they stay (keep_days = 90): {unfinished}" in done.words
        assert [each["run"] for each in listed(shop)][1:] == [unfinished, young]
    else:
        done = typed(shop, "resume", "--yes")
        assert "Not finished" not in done.words
        assert [each["run"] for each in listed(shop)] == [unfinished, young]
    assert done.code == 0, done
    assert f"Removed from the record (keep_days = 90; reports stay): {old}" in done.words
    assert not folder_of(shop, old).exists()
    assert (shop / "reports" / old / "summary.json").exists()


def test_old_runs_are_looked_for_once_an_hour_or_after_keep_days_changed(shop):
    old = sent(shop, coupon(1))
    age(shop, old, 91)
    os.utime(shop / ".pipeline" / "tidied")
    path = shop / "pipeline.toml"
    sent(shop, coupon(2), name="2.csv")
    assert folder_of(shop, old).exists()
    path.write_text(f"keep_days = 89\n{path.read_text()}")
    done = typed(shop, "run", "--yes", str(drop(shop, coupon(3), name="3.csv")))
    assert f"Removed from the record (keep_days = 89; reports stay): {old}" in done.words
    assert not folder_of(shop, old).exists()


def test_what_cannot_be_removed_fails_no_run(shop, monkeypatch: pytest.MonkeyPatch):
    old = sent(shop, coupon(1))
    age(shop, old, 91)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pipeline.store.on_files.files.shutil.rmtree", refuse)
    done = typed(shop, "run", "--yes", str(drop(shop, coupon(2), name="2.csv")))
    assert done.code == 0, done
    assert "Old runs could not be removed" in done.words
    assert "Permission denied" in done.words
    assert old in [each["run"] for each in listed(shop)]


def test_of_many_old_unfinished_runs_some_are_named(shop):
    old = [sent(shop, coupon(row), name=f"{row}.csv") for row in range(1, 8)]
    with registry(shop) as runs:
        for name in old:
            runs.change_state(name, "sending", counts={"not_attempted": 4})
    for name in old:
        age(shop, name, 91)
    done = typed(shop, "run", "--yes", str(drop(shop, coupon(9), name="9.csv")))
    _, _, named = done.words.partition("so they stay (keep_days = 90): ")
    assert named.strip() == ", ".join([*old[:5], "and 2 more"])


# Beside a damaged one


def _tear(folder):
    ledger = folder / "ledger.db"
    ledger.write_bytes(ledger.read_bytes()[:5000])


@pytest.mark.parametrize(
    "damage",
    [
        _tear,
        lambda folder: (folder / "ledger.db").unlink(),
        lambda folder: (folder / "run.json").write_text("{"),
        lambda folder: (folder / "jobs-shop.parquet").write_bytes(b"PAR1"),
    ],
)
def test_commands_work_beside_damaged_runs(shop, damage):
    finished, unfinished, whole, other = (
        sent(shop, coupon(row, f"e{row}"), coupon(9), name=f"{row}.csv") for row in (1, 2, 3, 4)
    )
    with registry(shop) as runs:
        for name in (unfinished, other):
            runs.change_state(name, "sending", counts={"not_attempted": 1})
    for name in (finished, unfinished):
        damage(folder_of(shop, name))
        age(shop, name, 100)
    assert len(listed(shop)) == 4
    found = typed(shop, "runs", "--json", "--entity", "xsolla.coupon:c9")
    assert {whole, other} <= {json.loads(line)["run"] for line in found.out.splitlines()}
    assert f"run {unfinished} could not be read" in found.err
    pruned = listed(shop, "--prune")
    assert [(each["run"], each["removed"]) for each in pruned] == [
        (finished, True),
        (unfinished, False),
    ]
    assert typed(shop, "resume", "--yes", other).code == 0
    assert typed(shop, "run", "--yes", str(drop(shop, coupon(5), name="5.csv"))).code == 0
    assert listed(shop, unfinished, "--prune")[0]["removed"]


# What a row met


def test_what_a_row_met_is_shown_in_full_and_without_secrets(tmp_path):
    with simulator() as vendor:
        config = configure(tmp_path, vendor.base_url)
        run = sent(tmp_path, coupon(1), coupon(2).replace("elven_shield", "no_such_sku"))
    done = typed(tmp_path, "runs", run, "--exchange", "2")
    assert done.code == 0
    head, command, *reply = [line for line in done.out.splitlines() if line]
    assert head == "row 2: rejected, 0401-9505/1102"
    assert command.startswith(f"curl -X PUT {vendor.base_url}/v2/project/44056/admin/coupon/c2 ")
    assert "no_such_sku" in command
    assert reply[0].startswith("HTTP 422 Unprocessable ")
    assert json.loads(reply[-1])["errorCode"] == 1102
    assert "simulator-key" not in done.out
    as_json = typed(tmp_path, "runs", run, "--exchange", "2", "--json").out
    (told,) = map(json.loads, as_json.splitlines())
    assert (told["run"], told["row"], told["status"]) == (run, 2, "rejected")
    assert told["request"] == command
    with open_store(config).ledger(run, None, None) as ledger:
        assert [(each.row, each.request) for each in ledger.exchanges()] == [(2, command)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--exchange", "1"], "no exchange of row 1"),  # it succeeded
        (["--exchange", "9"], "row 9 of run"),  # there is no such row
        (["--exchange", "1", "--stop"], "cannot be combined with"),
    ],
)
def test_why_nothing_can_be_shown_of_a_row_is_told(shop, arguments, told):
    run = sent(shop, coupon(1))
    done = typed(shop, "runs", run, *arguments)
    assert done.code == 2
    assert told in done.words
    assert "--exchange needs RUN" in typed(shop, "runs", "--exchange", "1").words


# Its page


BROWSER = '#!/bin/sh\necho "$1" > opened.txt\n'


def test_open_shows_the_page_in_the_browser_that_the_user_names(tmp_path):
    with simulator() as vendor:
        configure(tmp_path, vendor.base_url)
        run = sent(tmp_path, coupon(1))
    (tmp_path / "browser").write_text(BROWSER)
    (tmp_path / "browser").chmod(0o755)
    for arguments, page in ([run], f"{run}/report.html"), ([], "index.html"):
        more = environment(BROWSER=str(tmp_path / "browser"))
        done = ended(start(tmp_path, "runs", *arguments, "--open", env=more))
        assert done.code == 0, done
        opened = (tmp_path / "opened.txt").read_text().strip()
        assert opened == (tmp_path / "reports" / page).as_uri()
        assert page in done.words


def test_without_a_screen_the_page_is_named(tmp_path):
    with simulator() as vendor:
        configure(tmp_path, vendor.base_url)
        run = sent(tmp_path, coupon(1))
    bare = {
        name: value
        for name, value in environment().items()
        if name not in {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}
    }
    done = ended(start(tmp_path, "runs", run, "--open", env=bare))
    assert done.code == 0
    assert f"Cannot open a browser here. Page: {tmp_path}/reports/{run}/report.html" in (done.words)
