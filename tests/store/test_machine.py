"""Any order of calls, with the disk full, the process killed and the file damaged in between."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.model import RowResult, RunAborted, Status
from pipeline.store import LedgerError, MemoryLedger, RunLedger
from pipeline.store.contract import Ledger

LAST = 60
rows = st.lists(st.integers(1, LAST), max_size=8)
results = st.lists(
    st.builds(
        lambda row, status, error: RowResult(row, "xsolla.coupon", "shop", status, error=error),
        row=st.integers(1, LAST),
        status=st.sampled_from(Status),
        error=st.sampled_from(["", "no such id", "x" * 3000]),  # some fill pages
    ),
    max_size=6,
)


class Truth(NamedTuple):
    """The plainest model: what is claimed, and the results by row."""

    claims: frozenset[int] = frozenset()
    results: tuple[RowResult, ...] = ()

    def after(self, claims: list[int], ended: list[RowResult]) -> Truth | None:
        """None where it must be refused."""
        held = {each.row: each for each in self.results}
        waiting = set(self.claims)
        for row in claims:
            if row in held and held[row].status != Status.NOT_ATTEMPTED:
                return None
            held.pop(row, None)
            waiting.add(row)
        for each in ended:
            if each.row in held and held[each.row].status != Status.NOT_ATTEMPTED:
                return None
            held[each.row] = each
            waiting.discard(each.row)
        return Truth(frozenset(waiting), tuple(held[row] for row in sorted(held)))


def read(ledger: Ledger) -> Truth:
    truth = Truth(frozenset(ledger.claimed()), tuple(ledger.results(1, LAST)))
    statuses = [each.status for each in truth.results]
    assert ledger.counts() == {status: statuses.count(status) for status in set(statuses)}
    done = {each.row for each in truth.results if each.status != Status.NOT_ATTEMPTED}
    assert set(ledger.ended(range(1, LAST + 1))) == done
    return truth


class Calls(RuleBasedStateMachine):
    """The calls alone, on a ledger in memory."""

    ledger: Ledger

    def __init__(self) -> None:
        super().__init__()
        self.open()
        self.truths = [Truth()]

    def open(self) -> None:
        self.ledger = MemoryLedger()

    @rule(claims=rows, ended=results)
    def record(self, claims, ended):
        truth = self.truths[-1].after(claims, ended)
        try:
            self.ledger.record(claims, ended)
        except LedgerError:
            assert truth is None
        else:
            assert truth is not None
            self.truths.append(truth)

    @rule(given_back=rows)
    def release(self, given_back):
        self.ledger.release(given_back)
        last = self.truths[-1]
        self.truths.append(last._replace(claims=last.claims - set(given_back)))

    @invariant()
    def it_holds_the_truth(self):
        assert read(self.ledger) == self.truths[-1]

    def teardown(self) -> None:
        self.ledger.close()


class Faults(Calls):
    """The same on a file, with trouble below it."""

    ledger: RunLedger

    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.copies = 0
        self.path = self.folder / "ledger.db"
        self.ledger = RunLedger.create(self.path)

    def copy(self) -> Path:
        """What a killed process leaves, in a place of its own."""
        self.copies += 1
        place = self.folder / str(self.copies)
        place.mkdir()
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-mark"):
            if self.path.with_name(name).exists():
                shutil.copy(self.path.with_name(name), place)
        return place / "ledger.db"

    @rule(claims=rows, ended=results)
    def record_on_a_full_disk(self, claims, ended):
        connection = self.ledger._database._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        try:
            self.record(claims, ended)
        except RunAborted as error:
            assert "the disk is full" in str(error)  # noqa: PT017 - success is fine as well
        finally:
            connection.execute("PRAGMA max_page_count = 1000000")

    @rule()
    def kill(self):
        path = self.copy()
        self.ledger.close()
        self.path, self.ledger = path, RunLedger(path)

    @rule()
    def close_and_open(self):
        self.ledger.close()
        left = {each.name for each in self.path.parent.glob("ledger.db*")}
        assert left == {"ledger.db", "ledger.db-mark"}
        self.ledger = RunLedger(self.path)

    @rule(lost=st.integers(1, 20_000))
    def lose_the_end_of_the_log(self, lost):
        """Power is lost and the disk did not keep its word: an earlier truth, never a mix.

        The mark tells, unless it is lost as well.
        """
        path = self.copy()
        log = path.with_name("ledger.db-wal")
        if not log.exists():
            return
        with log.open("rb+") as file:
            file.truncate(max(0, log.stat().st_size - lost))
        try:
            with RunLedger(path) as whole:
                assert read(whole) == self.truths[-1]
        except LedgerError:
            path.with_name("ledger.db-mark").unlink()
            with RunLedger(path) as older:
                assert read(older) in self.truths

    @rule(
        name=st.sampled_from(["ledger.db", "ledger.db-wal", "ledger.db-mark"]),
        place=st.floats(0, 1, exclude_max=True),
        bit=st.integers(0, 7),
    )
    def flip_a_bit(self, name, place, bit):
        path = self.copy()
        if name == "ledger.db":
            RunLedger(path).close()  # the log goes into the file
        damaged_file = path.with_name(name)
        content = bytearray(damaged_file.read_bytes() if damaged_file.exists() else b"")
        if not content:
            return
        content[int(place * len(content))] ^= 1 << bit
        damaged_file.write_bytes(content)
        try:
            with RunLedger(path) as damaged:
                assert read(damaged) == self.truths[-1]
        except RunAborted as error:
            assert str(path) in str(error)  # noqa: PT017 - a bit that nobody reads does no harm

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=40, stateful_step_count=25)
TestFaults = Faults.TestCase
TestFaults.settings = settings(max_examples=40, stateful_step_count=20)
