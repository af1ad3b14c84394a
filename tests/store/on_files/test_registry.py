from __future__ import annotations

import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain
from pathlib import Path

import pytest

from pipeline.model import RunAborted, Status, UsageError
from pipeline.model.quota import Quota
from pipeline.store import LedgerError, PageChecks, Run
from pipeline.store.on_files import FileStore
from pipeline.store.on_files.boot_clock import Moment
from pipeline.store.on_files.orders import FileOrders
from pipeline.store.on_files.quotas import FileQuotas
from pipeline.store.on_files.registry import FileRegistry
from pipeline.store.on_files.registry_file import _FORMAT_1, _FORMAT_2, _FORMAT_3, RegistryFile
from pipeline.store.page_checks import AGAIN_AFTER_S
from pipeline.store.run_entry import STATES
from pipeline.store.seam import Departed, Order, Share, StoredPause
from tests.quick_start import CODE, QuickPopen

START = datetime(2026, 5, 1, 2, 0, 0, 250_000, tzinfo=UTC)


def run(name: str, **fields) -> Run:
    return Run(
        **{"name": name, "source": "a.csv", "sha256": "ab", "rows": 3, "started": START} | fields
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def file(path: Path) -> Iterator[RegistryFile]:
    with closing(RegistryFile(path)) as file:
        yield file


@pytest.fixture
def runs(file: RegistryFile) -> FileRegistry:
    return FileRegistry(file)


@contextmanager
def opened(path: Path, **more) -> Iterator[FileRegistry]:
    """The registry, while its file is open."""
    file = RegistryFile(path, **more)
    with closing(file), file.opened():
        yield FileRegistry(file)


class Clocks:
    """Clocks of a machine that stand still unless a test sets them."""

    def __init__(self) -> None:
        self.now = Moment("a", 110.0, 1110.0)

    def __call__(self) -> Moment:
        return self.now


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def quotas(file: RegistryFile, clocks: Clocks) -> FileQuotas:
    return FileQuotas(file, clocks)


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
    with opened(path) as runs:
        added = runs.add(whole)
        assert added == replace(whole, sequence=1)
    with opened(path) as runs:
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
    with pytest.raises(
        UsageError, match="another process works on run a, which has the id nightly"
    ):
        runs.add(run("d", run_id="nightly"))
    with pytest.raises(UsageError, match=r"belongs to run a of .*, and .* has other content"):
        runs.add(run("d", run_id="nightly", sha256="other"))
    with pytest.raises(LedgerError, match=r"run b is in .* already"):
        runs.add(run("b", run_id="other"))
    assert [each.name for each in runs.all(states=STATES)] == ["c", "b", "a"]


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
    assert names(runs.all(states=STATES, since=START + day)) == ["c", "b"]
    assert names(runs.all(states=STATES, since=START + day + timedelta(microseconds=1))) == ["c"]
    assert names(runs.all(states=STATES, most=2)) == ["c", "b"]


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
from pipeline.store import Run
from pipeline.store.on_files import FileStore

print("ready", flush=True)
sys.stdin.readline()
store = FileStore(Path(sys.argv[1]))
with store.together():
    for number in range(20):
        name = f"{sys.argv[2]}-{number}"
        run = Run(name=name, source="a", sha256="b", rows=1, started=datetime.now(UTC))
        print(store.runs.add(run).sequence, flush=True)
        store.quotas.left("shop", [(1.0, 1)], under_way=0, forget_s=600.0)
"""


def test_concurrent_processes_get_different_sequences(path):
    children = [
        QuickPopen(
            [*CODE, ADD, str(path), str(each)],
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
    with opened(path) as runs:
        assert len(runs.all(states=STATES)) == 60
        assert len(FileStore(path).quotas.since("shop", after=0)) == 60


def test_the_wait_for_another_process_is_limited(path):
    with opened(path), opened(path, wait_s=0.05) as second:
        with (
            RegistryFile(path).commit(),
            pytest.raises(RunAborted, match="another process is busy"),
        ):
            second.add(run("a"))
        assert second.add(run("a")).sequence == 1


# What quotas remember


def counts(quotas: FileQuotas, after: int = 0) -> list[tuple[tuple[float, int], ...]]:
    return [entry.counts for entry in quotas.since("shop", after=after)]


def leave(quotas: FileQuotas, *ages_s: float, under_way: int = 0, forget_s: float = 60.0) -> int:
    some = [(age_s, 1) for age_s in ages_s]
    return quotas.left("shop", some, under_way=under_way, forget_s=forget_s)


def test_requests_that_no_window_needs_are_dropped_what_was_noted_together_together(quotas, clocks):
    leave(quotas, 1.0)
    leave(quotas, 58.0, 2.0)
    quotas.left("billing", [(1.0, 1)], under_way=0, forget_s=60.0)
    clocks.now = Moment("a", 167.5, 1167.5)
    leave(quotas, 0.0, forget_s=60.0)
    assert counts(quotas) == [((58.5, 1),), ((115.5, 1), (59.5, 1)), ((0.0, 1),)]
    clocks.now = Moment("a", 170.0, 1170.0)
    leave(quotas, 0.0, forget_s=61.5)
    assert counts(quotas) == [((61.0, 1),), ((2.5, 1),), ((0.0, 1),)]
    assert len(quotas.since("billing", after=0)) == 1


def test_requests_of_another_boot_are_dropped_by_the_wall_clock(quotas, clocks):
    clocks.now = Moment("b", 5_000.0, 1_000.0)
    leave(quotas, 0.0)
    clocks.now = Moment("a", 9.0, 1_059.0)
    leave(quotas, 1.0)
    assert len(counts(quotas)) == 2
    clocks.now = Moment("a", 11.0, 1_061.0)
    leave(quotas, 1.0)
    assert counts(quotas) == [((3.0, 1),), ((1.0, 1),)]


@pytest.mark.parametrize("step_s", [-86_400.0, -120.0, 0.0, 120.0, 86_400.0])
def test_a_step_of_the_wall_clock_changes_no_age(quotas, clocks, step_s):
    leave(quotas, 10.0, 1.0)
    clocks.now = Moment("a", 140.0, 1140.0 + step_s)
    assert counts(quotas) == [((40.0, 1), (31.0, 1))]


@pytest.mark.parametrize(
    ("since_s", "up_s", "ages_s"),
    [
        (40.0, 20.0, (50.0, 41.0)),  # by the wall clock
        (40.0, 45.0, (50.0, 45.0)),  # it left before this boot at the latest
        (-900.0, 20.0, (20.0, 20.0)),  # a clock that went back
        (900.0, 20.0, (910.0, 901.0)),
    ],
)
def test_requests_of_another_boot_get_their_age_from_the_wall_clock(
    quotas, clocks, since_s, up_s, ages_s
):
    leave(quotas, 10.0, 1.0)
    clocks.now = Moment("b", up_s, 1110.0 + since_s)
    assert counts(quotas) == [tuple((age_s, 1) for age_s in ages_s)]


def test_numbers_of_entries_rise_also_after_all_were_dropped(quotas, clocks):
    """Whoever knows the last one must not miss the next."""
    leave(quotas, 0.0)
    known = leave(quotas, 0.0)
    clocks.now = Moment("a", 500.0, 1500.0)
    assert leave(quotas, 0.0) > known
    assert counts(quotas, after=known) == [((0.0, 1),)]


def test_a_file_of_the_first_format_keeps_its_send_times(path, quotas, clocks):
    """They are UTC seconds since 1970."""
    connection = sqlite3.connect(path)
    connection.executescript(_FORMAT_1 + "PRAGMA user_version = 1;")
    connection.execute("INSERT INTO departures VALUES (7, 'shop', 2.0, x'0000000000000040')")
    connection.commit()
    connection.close()
    clocks.now = Moment("a", 4.0, 32.0)
    assert quotas.since("shop", after=0) == [Departed(7, ((30.0, 1),), 0)]
    assert leave(quotas, 0.0) == 8


OF_AN_EARLIER_VERSION = """
DROP TABLE orders; DROP TABLE shares; DROP TABLE wishes;
INSERT INTO departures
(quota_group, boot, noted_s, noted_utc_s, last_s, under_way, times, checksum)
VALUES ('shop', 'a', 3.0, 1003.0, 2.0, 4, x'000000000000F03F0000000000000040', 2049042329);
ALTER TABLE departures DROP COLUMN counts;
PRAGMA user_version = 7;
"""


def test_send_times_of_an_earlier_version_are_read_and_compared_with_their_sum(
    path, file, quotas, clocks
):
    """It recorded each time of its own, without a count."""
    with opened(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OF_AN_EARLIER_VERSION)
    clocks.now = Moment("a", 5.0, 1005.0)
    assert quotas.since("shop", after=0) == [Departed(1, ((4.0, 1), (3.0, 1)), 4)]
    leave(quotas, 1.0)
    assert counts(quotas) == [((4.0, 1), (3.0, 1)), ((1.0, 1),)]
    with file.opened() as database:
        database._connection.execute("UPDATE departures SET under_way = 5")
    with pytest.raises(LedgerError, match="send times are not what was written"):
        quotas.since("shop", after=0)


def test_a_registry_of_the_version_before_gets_the_new_tables(path, runs):
    with opened(path):
        runs.add(run("a"))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TABLE orders; DROP TABLE shares; DROP TABLE wishes; PRAGMA user_version = 8;"
        )
    assert [each.name for each in runs.all(states=STATES)] == ["a"]
    assert runs.shares("a") == []
    runs.forget("a")


def test_a_pause_ends_by_the_wall_clock_and_a_clock_set_back_makes_it_no_longer(quotas, clocks):
    quotas.pause("shop", StoredPause(60.0, 10.0, "a-run", "HTTP 429"))
    clocks.now = Moment("a", 130.0, 1130.0)
    assert quotas.pauses("shop")["shop"] == StoredPause(40.0, 30.0, "a-run", "HTTP 429")
    clocks.now = Moment("a", 131.0, 10.0)
    assert quotas.pauses("shop")["shop"][:2] == (70.0, 0.0)
    clocks.now = Moment("a", 132.0, 2000.0)
    assert quotas.pauses("shop")["shop"].left_s < 0


def test_a_pause_of_an_earlier_version_has_no_origin(path, quotas, clocks):
    connection = sqlite3.connect(path)
    connection.executescript(_FORMAT_1 + _FORMAT_2 + _FORMAT_3 + "PRAGMA user_version = 3;")
    connection.executescript(
        "INSERT INTO pauses VALUES ('shop', 253402300799.0), ('billing', 9e999)"
    )
    connection.close()
    clocks.now = Moment("a", 1.0, 0.0)
    assert quotas.pauses("")["shop"] == StoredPause(253402300799.0, float("inf"))
    assert quotas.lift_pause("billing") == StoredPause(float("inf"), float("inf"))


# A file that is not there


def test_a_query_makes_no_registry(path, runs, quotas):
    assert runs.all(states=STATES) == []
    assert runs.get("a") is None
    assert quotas.pauses("") == {}
    assert not path.exists()


def test_a_registry_that_is_gone_is_noticed_by_its_witness(path):
    witness = path.parent / "marks" / "ledger.db"
    with opened(path, witness=witness) as runs:
        runs.add(run("a"))
    for each in path.parent.glob("ledger.db*"):
        each.unlink()
    with pytest.raises(LedgerError, match="is damaged"):
        FileRegistry(RegistryFile(path, witness=witness)).names()


def test_threads_take_turns(path):
    """Each would close the file of another, or use its transaction."""
    runs = FileRegistry(RegistryFile(path))
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda number: runs.add(run(f"r{number}")), range(40)))
    assert sorted(each.sequence for each in added) == list(range(1, 41))


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
    with opened(path) as runs:
        runs.add(run("a", accounts={"shop": "f1"}))
    database = sqlite3.connect(path)
    database.execute(change)
    database.commit()
    database.close()
    with opened(path) as runs, pytest.raises(LedgerError, match=message):
        runs.all(states=STATES)


def test_a_table_that_is_gone_is_noticed(path):
    with opened(path):
        pass
    database = sqlite3.connect(path)
    database.execute("DROP TABLE pauses")
    database.close()
    with pytest.raises(LedgerError, match="its tables are not those that were made"), opened(path):
        pass


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE departures SET times = x'0102'",
        "UPDATE departures SET counts = x'01'",
        "UPDATE departures SET counts = x'02000000'",
        "UPDATE departures SET counts = NULL",
    ],
)
def test_a_send_time_or_count_that_was_changed_is_noticed(file, quotas, change):
    leave(quotas, 1.0)
    with file.opened() as database:
        database._connection.execute(change)
    with pytest.raises(LedgerError, match="send times are not what was written"):
        quotas.since("shop", after=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE orders SET is_stop = 0", "the order of run a is not what was written"),
        ("UPDATE orders SET quotas = '{}'", "the order of run a is not what was written"),
        ("UPDATE shares SET is_done = 1", "a share of run a is not what was written"),
        ("UPDATE shares SET progress = 'x'", "a share of run a is not what was written"),
    ],
)
def test_an_order_or_share_that_was_changed_is_noticed(file, runs, change, message):
    runs.add(run("a"))
    runs.share("a", [Share("shop")])
    orders = FileOrders(file)
    orders.give("a", Order(is_stop=True, quotas={"shop": Quota(5, 1.0)}))
    with file.opened() as database:
        database._connection.execute(change)
    with pytest.raises(LedgerError, match=message):
        _ = orders.given("a"), runs.shares("a")


def test_a_file_that_is_no_ledger_gives_a_clear_error(path):
    path.write_bytes(b"name,state\n" * 1000)
    with (
        pytest.raises(LedgerError, match=r"ledger\.db is damaged: file is not a database"),
        opened(path),
    ):
        pass


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
    with opened(path) as runs:
        runs.add(run("r-7", sha256="content", run_id="nightly"))
    flip_in_index(path, text)
    checks = PageChecks()
    for _ in range(2):  # what failed once is not taken for sound
        with pytest.raises(LedgerError, match="is damaged"), opened(path, checks=checks):
            pass


def test_pages_are_compared_again_after_a_while_and_where_the_file_is_another_one(path, tmp_path):
    now_s = [0.0]
    checks = PageChecks(clock=lambda: now_s[0])
    with opened(path, checks=checks) as runs:
        runs.add(run("r-7", sha256="content"))
    sound = path.read_bytes()
    flip_in_index(path, "content")
    now_s[0] = AGAIN_AFTER_S - 1.0
    with opened(path, checks=checks) as runs:
        assert [each.name for each in runs.all(states=STATES)] == ["r-7"]
    now_s[0] = AGAIN_AFTER_S
    with pytest.raises(LedgerError, match="is damaged"), opened(path, checks=checks):
        pass
    path.write_bytes(sound)
    with opened(path, checks=checks):
        pass
    other = tmp_path / "other"
    other.write_bytes(sound)
    flip_in_index(other, "content")
    other.replace(path)
    with pytest.raises(LedgerError, match="is damaged"), opened(path, checks=checks):
        pass


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
