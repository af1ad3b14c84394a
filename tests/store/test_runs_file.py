from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain
from pathlib import Path

import pytest

from pipeline.model import RunAborted, Status, UsageError
from pipeline.model.pause import AskedPause
from pipeline.store import Departures, LedgerError, PageChecks, Run, Runs
from pipeline.store.page_checks import AGAIN_AFTER_S
from pipeline.store.runs_file import _FORMAT_1, _FORMAT_2, _FORMAT_3

START = datetime(2026, 5, 1, 2, 0, 0, 250_000, tzinfo=UTC)


def run(name: str, **fields) -> Run:
    return Run(
        **{"name": name, "source": "a.csv", "sha256": "ab", "rows": 3, "started": START} | fields
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def runs(path: Path) -> Iterator[Runs]:
    with Runs(path) as each:
        yield each


def test_a_run_comes_back_as_it_was(path):
    whole = run(
        "r-1",
        operations={"xsolla.coupon": 2, "oracle.offer-status": 1},
        accounts={"shop": "f1", "billing": "f2"},
        run_id="nightly-7",
        repeats="r-0",
        continues="r-00",
        state="reported",
        ended=START + timedelta(hours=1),
        counts={Status.UPDATED: 2, Status.UNKNOWN: 1},
        exit_code=1,
    )
    with Runs(path) as runs:
        added = runs.add(whole)
        assert added == replace(whole, sequence=1)
    with Runs(path) as runs:
        assert runs.get("r-1") == runs.by_run_id("nightly-7") == added
        assert runs.get("r-2") is None
        assert runs.by_run_id("r-1") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {each.name for each in path.parent.iterdir()} == {"ledger.db", "ledger.db-mark"}


def test_a_sequence_is_never_reused(runs):
    assert [runs.add(run(name)).sequence for name in ("a", "b", "c")] == [1, 2, 3]
    runs.forget("c")
    runs.forget("never there")
    assert runs.get("c") is None
    assert runs.add(run("d")).sequence == 4


def test_a_change_of_state_keeps_the_other_fields(runs):
    added = runs.add(run("a", accounts={"shop": "f1"}))
    assert runs.change_state("a", "sending") == replace(added, state="sending")
    ended = START + timedelta(minutes=1)
    runs.change_state("a", "ended", ended=ended, counts={Status.UPDATED: 3}, exit_code=0)
    runs.change_state("a", "reported")
    assert runs.get("a") == replace(
        added, state="reported", ended=ended, counts={Status.UPDATED: 3}, exit_code=0
    )
    with pytest.raises(LedgerError, match="run b is not in"):
        runs.change_state("b", "sending")


def test_a_schedulers_run_id_belongs_to_one_run(runs):
    runs.add(run("a", run_id="nightly"))
    runs.add(run("b"))
    runs.add(run("c"))  # any number without one
    with pytest.raises(UsageError, match="run id nightly belongs to run a"):
        runs.add(run("d", run_id="nightly"))
    with pytest.raises(LedgerError, match=r"run b is in .* already"):
        runs.add(run("b", run_id="other"))
    assert [each.name for each in runs.all()] == ["c", "b", "a"]


def test_runs_are_found_by_content_state_and_time(runs):
    day = timedelta(days=1)
    runs.add(run("a", sha256="11", state="reported"))
    runs.add(run("b", sha256="22", state="ended", started=START + day))
    east = (START + 2 * day).astimezone(timezone(timedelta(hours=9)))
    runs.add(run("c", sha256="11", started=east))
    names = lambda found: [each.name for each in found]  # noqa: E731
    assert names(runs.find("11")) == ["c", "a"]
    assert names(runs.find("33")) == []
    assert names(runs.all(states=["ended", "reported"])) == ["b", "a"]
    assert names(runs.all(since=START + day)) == ["c", "b"]
    assert names(runs.all(since=START + day + timedelta(microseconds=1))) == ["c"]
    assert names(runs.all(most=2)) == ["c", "b"]


def test_unfinished_runs_are_those_that_share_an_account(runs):
    runs.add(run("a", accounts={"shop": "f1"}, state="sending"))
    runs.add(run("b", accounts={"other-name": "f1", "x": "f3"}))  # the name is a label only
    runs.add(run("c", accounts={"shop": "f2"}, state="sending"))
    runs.add(run("d", accounts={"shop": "f1"}, state="ended"))
    assert [each.name for each in runs.unfinished(["f1"])] == ["a", "b"]
    assert [each.name for each in runs.unfinished({"f2", "f3"})] == ["b", "c"]
    assert runs.unfinished([]) == []


# Between processes

ADD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipeline.store import Departures, Run, Runs

print("ready", flush=True)
sys.stdin.readline()
with Runs(Path(sys.argv[1])) as runs:
    for number in range(20):
        name = f"{sys.argv[2]}-{number}"
        run = Run(name=name, source="a", sha256="b", rows=1, started=datetime.now(UTC))
        print(runs.add(run).sequence, flush=True)
        runs.depart("shop", Departures("a", 1.0, 1.0, (float(number),), (1,)), longest_s=60.0)
"""


def test_concurrent_processes_get_different_sequences(path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(path), str(each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for each in range(3)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:  # the file is not there yet: they make it at once, too
        child.stdin.write("go\n")
        child.stdin.flush()
    places = [list(map(int, child.communicate()[0].split())) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert all(mine == sorted(mine) for mine in places)
    assert sorted(chain.from_iterable(places)) == list(range(1, 61))
    with Runs(path) as runs:
        assert len(runs.all()) == 60
        assert len(runs.departures("shop")) == 60


def test_the_wait_for_another_process_is_limited(path):
    with Runs(path) as first, Runs(path, wait_s=0.05) as second:
        with first._database.commit(), pytest.raises(RunAborted, match="another process is busy"):
            second.add(run("a"))
        assert second.add(run("a")).sequence == 1


# What quotas remember


def left(*times: float, boot: str = "a", under_way: int = 0, noted_s: float = 110.0) -> Departures:
    counts = tuple(range(1, len(times) + 1))
    return Departures(boot, noted_s, 1000.0 + noted_s, times, counts, under_way)


def times(runs: Runs, group: str, after: int = 0) -> list[tuple[float, ...]]:
    return [entry.times for entry in runs.departures(group, after=after)]


def test_departures_are_those_of_the_group_as_they_were_noted(runs):
    first = left(103.0, 101.0, 101.0, under_way=2)
    number = runs.depart("shop", first, longest_s=60.0)
    runs.depart("billing", left(102.0), longest_s=60.0)
    runs.depart("shop", left(under_way=1), longest_s=60.0)
    assert runs.depart("shop", left(), longest_s=60.0) == 0  # nothing to note
    found, under_way = runs.departures("shop")
    assert found == first._replace(number=number)
    assert under_way.under_way == 1
    assert times(runs, "nobody") == []


def test_departures_that_are_known_already_are_left_out(runs):
    first = runs.depart("shop", left(1.0), longest_s=60.0)
    assert times(runs, "shop", after=first) == []
    runs.depart("shop", left(2.0, 3.0), longest_s=60.0)
    assert times(runs, "shop", after=first) == [(2.0, 3.0)]


def test_departures_that_no_window_needs_are_dropped(runs):
    runs.depart("shop", left(1.0, 2.0, noted_s=2.0), longest_s=60.0)
    runs.depart("shop", left(2.5, 9.0, noted_s=9.0), longest_s=60.0)
    runs.depart("billing", left(1.0, noted_s=1.0), longest_s=60.0)
    runs.depart("shop", left(10.0, noted_s=63.0), longest_s=60.0)
    assert times(runs, "shop") == [(2.5, 9.0), (10.0,)]  # what was noted together goes together
    assert times(runs, "billing") == [(1.0,)]


def test_departures_of_another_boot_go_by_the_wall_clock(runs):
    runs.depart("shop", left(5_000.0, boot="b", noted_s=5_000.0), longest_s=60.0)  # 6,000
    runs.depart("shop", left(1.0, noted_s=5_059.0), longest_s=60.0)  # 6,059
    assert len(times(runs, "shop")) == 2
    runs.depart("shop", left(2.0, noted_s=5_061.0), longest_s=60.0)
    assert times(runs, "shop") == [(2.0,)]


def test_numbers_of_departures_rise_also_after_all_were_dropped(runs):
    """Whoever knows the last one must not miss the next."""
    runs.depart("shop", left(1.0, noted_s=1.0), longest_s=60.0)
    known = runs.depart("shop", left(2.0, noted_s=2.0), longest_s=60.0)
    again = runs.depart("shop", left(99.0, noted_s=99.0), longest_s=60.0)
    assert again > known
    assert times(runs, "shop", after=known) == [(99.0,)]


def test_a_file_of_the_first_format_keeps_its_departures(path):
    connection = sqlite3.connect(path)
    connection.executescript(_FORMAT_1 + "PRAGMA user_version = 1;")
    connection.execute("INSERT INTO departures VALUES (7, 'shop', 2.0, x'0000000000000040')")
    connection.commit()
    connection.close()
    with Runs(path) as runs:
        assert runs.departures("shop") == [Departures("", 2.0, 2.0, (2.0,), (1,), 0, 7)]
        assert runs.depart("shop", left(3.0), longest_s=1e9) == 8


OF_THE_VERSION_BEFORE = """
DELETE FROM departures;
INSERT INTO departures
(quota_group, boot, noted_s, noted_utc_s, last_s, under_way, times, checksum)
VALUES ('shop', 'a', 3.0, 1003.0, 2.0, 4, x'000000000000F03F0000000000000040', 2049042329);
ALTER TABLE departures DROP COLUMN counts;
PRAGMA user_version = 7;
"""


def test_departures_that_the_version_before_recorded_are_read_and_compared_with_their_sum(path):
    """It recorded each time of its own, without a count."""
    Runs(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OF_THE_VERSION_BEFORE)
    with Runs(path) as runs:
        assert runs.departures("shop")[0][:6] == ("a", 3.0, 1003.0, (1.0, 2.0), (1, 1), 4)
        runs.depart("shop", left(3.0), longest_s=600.0)
        assert [entry.counts for entry in runs.departures("shop")] == [(1, 1), (1,)]
        runs._database._connection.execute("UPDATE departures SET under_way = 5")
        with pytest.raises(LedgerError, match="send times are not what was written"):
            runs.departures("shop")


def test_nobody_shortens_a_pause_and_the_longest_keeps_its_origin(runs):
    assert runs.pause_of("shop") is None
    runs.pause("shop", AskedPause(500.5, 400.0, "a-run", "HTTP 429, Retry-After: 100.5"))
    runs.pause("shop", AskedPause(450.0, 440.0, "b-run", "HTTP 429, Retry-After: 10"))
    runs.pause("billing", AskedPause(1.0))
    assert runs.pause_of("shop") == (500.5, 400.0, "a-run", "HTTP 429, Retry-After: 100.5")
    runs.pause("shop", AskedPause(600.0, 450.0))
    assert runs.pause_of("shop") == (600.0, 450.0, "", "")
    assert runs.pauses("") == {"shop": (600.0, 450.0, "", ""), "billing": (1.0, 0.0, "", "")}
    assert list(runs.pauses("shop")) == ["shop"]
    assert runs.pauses("shop%") == {}


def test_a_pause_that_is_lifted_is_gone_and_others_stay(runs):
    asked = AskedPause(500.5, 400.0, "a-run", "HTTP 503")
    for group in ("shop", "billing"):
        runs.pause(group, asked)
    assert runs.lift_pause("shop") == asked
    assert runs.lift_pause("shop") is None
    assert list(runs.pauses("")) == ["billing"]


def test_a_pause_of_an_earlier_version_has_no_origin(path):
    connection = sqlite3.connect(path)
    connection.executescript(_FORMAT_1 + _FORMAT_2 + _FORMAT_3 + "PRAGMA user_version = 3;")
    connection.executescript(
        "INSERT INTO pauses VALUES ('shop', 253402300799.0), ('billing', 9e999)"
    )
    connection.close()
    with Runs(path) as runs:
        assert runs.pause_of("shop") == (253402300799.0, 0.0, "", "")
        assert runs.lift_pause("billing") == (float("inf"), 0.0, "", "")


# Damage


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('UPDATE runs SET accounts = \'{"shop": "f9"}\'', "run 1 is not what was written"),
        ("UPDATE runs SET sequence = 7", "run 7 is not what was written"),
        ("UPDATE runs SET rows = 4", "run 1 is not what was written"),
        ("UPDATE runs SET counts = x'ff'", "run 1 is not what was written"),
    ],
)
def test_a_run_that_was_changed_is_noticed(path, change, message):
    with Runs(path) as runs:
        runs.add(run("a", accounts={"shop": "f1"}))
    database = sqlite3.connect(path)
    database.execute(change)
    database.commit()
    database.close()
    with Runs(path) as runs, pytest.raises(LedgerError, match=message):
        runs.all()


def test_a_table_that_is_gone_is_noticed(path):
    Runs(path).close()
    database = sqlite3.connect(path)
    database.execute("DROP TABLE pauses")
    database.close()
    with pytest.raises(LedgerError, match="its tables are not those that were made"):
        Runs(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE departures SET times = x'0102'",
        "UPDATE departures SET counts = x'01'",
        "UPDATE departures SET counts = x'02000000'",
        "UPDATE departures SET counts = NULL",
    ],
)
def test_a_send_time_or_count_that_was_changed_is_noticed(runs, change):
    runs.depart("shop", left(1.0), longest_s=60.0)
    runs._database._connection.execute(change)
    with pytest.raises(LedgerError, match="send times are not what was written"):
        runs.departures("shop")


def test_a_file_that_is_no_ledger_gives_a_clear_error(path):
    path.write_bytes(b"name,state\n" * 1000)
    with pytest.raises(LedgerError, match=r"ledger\.db is damaged: file is not a database"):
        Runs(path)


PAGE_BYTES = 4096
LEAF_OF_INDEX = 0x0A


def flip_in_index(path: Path, text: str) -> None:
    """Change one letter where an index holds `text`, not where the table does."""
    data = bytearray(path.read_bytes())
    starts = [at for at in range(0, len(data), PAGE_BYTES) if data[at] == LEAF_OF_INDEX]
    (found,) = (
        place for at in starts if (place := data.find(text.encode(), at, at + PAGE_BYTES)) >= 0
    )
    data[found] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("text", ["content", "r-7", "nightly"], ids=["sha256", "name", "run_id"])
def test_an_index_that_hides_a_run_is_noticed_at_the_first_opening(path, text):
    """It would hide a run of the same content, or make a name or an id free again."""
    with Runs(path) as runs:
        runs.add(run("r-7", sha256="content", run_id="nightly"))
    flip_in_index(path, text)
    checks = PageChecks()
    for _ in range(2):  # what failed once is not taken for sound
        with pytest.raises(LedgerError, match="is damaged"):
            Runs(path, checks=checks)


def test_pages_are_compared_again_after_a_while_and_where_the_file_is_another_one(path, tmp_path):
    now_s = [0.0]
    checks = PageChecks(clock=lambda: now_s[0])
    with Runs(path, checks=checks) as runs:
        runs.add(run("r-7", sha256="content"))
    sound = path.read_bytes()
    flip_in_index(path, "content")
    now_s[0] = AGAIN_AFTER_S - 1.0
    with Runs(path, checks=checks) as runs:
        assert [each.name for each in runs.all()] == ["r-7"]
    now_s[0] = AGAIN_AFTER_S
    with pytest.raises(LedgerError, match="is damaged"):
        Runs(path, checks=checks)
    path.write_bytes(sound)
    Runs(path, checks=checks).close()
    other = tmp_path / "other"
    other.write_bytes(sound)
    flip_in_index(other, "content")
    other.replace(path)
    with pytest.raises(LedgerError, match="is damaged"):
        Runs(path, checks=checks)


def test_runs_are_found_by_end_and_by_sequence(runs):
    hour = timedelta(hours=1)
    runs.add(run("ended", started=START, ended=START + 3 * hour))
    runs.add(run("killed", started=START + hour))
    runs.add(run("new", started=START + 2 * hour))
    zone = timezone(timedelta(hours=-7))
    late = (START + 2 * hour).astimezone(zone)
    assert [each.name for each in runs.older_than(late)] == ["killed"]
    assert [each.name for each in runs.older_than(START + 4 * hour)] == ["ended", "killed", "new"]
    assert [each.name for each in runs.since(2)] == ["new", "killed"]
    assert runs.names() == {"ended", "killed", "new"}
