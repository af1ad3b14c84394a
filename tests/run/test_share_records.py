"""The record of a run that is sent in shares: read as one, and made anew if one of them is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pipeline.config import load_config
from pipeline.model import RowResult, Status
from pipeline.run import Prepared, prepare
from pipeline.run.failed_rows import prepare_failed
from pipeline.run.history import report_of
from pipeline.run.recorded_state import RecordedState
from pipeline.runs import RunOptions, open_store
from pipeline.store.seam import LostRecordError, Share, share_lease
from pipeline.vendors import load_vendors
from tests.run.machines import elsewhere, keep_in, ledger_line
from tests.workplace import configure, coupon, drop

SHARES = [Share("shop", number, 2) for number in (0, 1)]


def result(row: int) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", Status.UPDATED)


def sent_in_shares(folder: Path) -> Prepared:
    """A run of five rows, of which each share sent one; its processes are gone."""
    configure(folder, "http://127.0.0.1:1")
    path = folder / "pipeline.toml"
    path.write_text(ledger_line(folder) + path.read_text())
    config = load_config(None, environ={}, vendors=load_vendors(), cwd=folder)
    prepared = prepare(drop(folder, *map(coupon, range(1, 6))), config, RunOptions())
    store = open_store(config)
    store.runs.share(prepared.run, SHARES)
    for row, share in enumerate(SHARES, 1):
        with store.lease(share_lease(prepared.run, share)) as lease:
            assert lease.take()
            with store.ledger(prepared.run, share, lease) as ledger:
                ledger.record([row], [result(row)], [], [(row, f'{{"n": {row}}}')])
    store.runs.change_state(prepared.run, "sending")
    prepared.lease.release()
    return prepared


def test_the_report_is_of_all_shares(tmp_path):
    prepared = sent_in_shares(tmp_path)
    summary, is_new = report_of(prepared.config, prepared.run)
    assert is_new
    assert summary.statuses[Status.UPDATED] == 2
    assert summary.statuses[Status.NOT_ATTEMPTED] == 3


def test_the_failed_rows_of_a_run_in_shares_are_sent_in_as_many(tmp_path):
    config = configure(tmp_path, "http://127.0.0.1:1", more="shares = 2")
    prepared = prepare(drop(tmp_path, *map(coupon, range(1, 6))), config, RunOptions())
    store = open_store(config)
    with store.ledger(prepared.run, None, prepared.lease) as ledger:
        rejected = RowResult(3, "xsolla.coupon", "shop", Status.REJECTED)
        ledger.record([1, 2, 3, 4, 5], [rejected, *map(result, (1, 2, 4, 5))])
    store.runs.change_state(prepared.run, "reported")
    prepared.lease.release()
    again = prepare_failed(prepared.run, config)
    assert again is not None
    assert again.bound.rows == 1
    again.lease.release()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4000])


@pytest.mark.parametrize("lose", [cut, Path.unlink])
def test_if_one_of_the_records_is_lost_the_results_in_the_others_are_kept(
    tmp_path, lose: Callable[[Path], None]
):
    prepared = sent_in_shares(tmp_path)
    config, run = prepared.config, prepared.run
    lose(prepared.folder / "ledger-shop-2.db")
    with pytest.raises(LostRecordError):
        open_store(config).ledger(run, None, None).__enter__()
    told: list[str] = []
    summary, _ = report_of(config, run, told.append)
    assert "4 rows of run" in "".join(told)
    assert summary.statuses[Status.UPDATED] == 1
    assert summary.statuses[Status.UNKNOWN] == 4
    with open_store(config).ledger(run, None, None) as ledger:  # it is one record now
        assert [each.row for each in ledger.results(1, 9)] == [1, 2, 3, 4, 5]
        assert ledger.previous_states([1, 2]) == {1: '{"n": 1}'}
    assert report_of(config, run)[0].statuses == summary.statuses


def test_a_share_is_taken_whatever_became_of_the_records_of_others(tmp_path):
    """They are not even read: what it costs to take one grows with the share, not with the run."""
    prepared = sent_in_shares(tmp_path)
    cut(prepared.folder / "ledger-shop-2.db")
    store, run = open_store(prepared.config), prepared.run
    with store.ledger(run, SHARES[0], None) as known:
        assert RecordedState.of(known).counts == {Status.UPDATED: 1}
    with pytest.raises(LostRecordError):
        store.ledger(run, SHARES[1], None).__enter__()


def test_a_share_in_a_database_is_taken_whatever_became_of_the_records_of_others(
    tmp_path, database: str
):
    keep_in("postgres", tmp_path, lambda: database)
    prepared = sent_in_shares(tmp_path)
    store, run = open_store(prepared.config), prepared.run
    with closing(prepared.config.kept_store):
        with psycopg.connect(database) as connection:
            connection.execute(
                "insert into pipeline.commits select ledger, part, number + 1, "
                "epoch, digest, 0, open_from, claims, released from pipeline.commits where part = 2"
            )
            connection.execute("update pipeline.results set record = 'x' where part = 2")
        with store.ledger(run, SHARES[0], None) as known:
            assert RecordedState.of(known).counts == {Status.UPDATED: 1}
            assert [each.row for each in known.results(1, 9)] == [1]
        with store.ledger(run, None, None) as whole, pytest.raises(LostRecordError):
            RecordedState.of(whole)


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        ("delete from pipeline.commits where part = 2", 2),
        ("update pipeline.results set record = replace(record, 'shop', 'show') where row = 2", 1),
        ("delete from pipeline.ledgers", 0),
    ],
)
def test_a_lost_record_in_a_database_is_made_anew_of_what_is_intact(
    tmp_path, database: str, statement: str, kept: int
):
    keep_in("postgres", tmp_path, lambda: database)
    prepared = sent_in_shares(tmp_path)
    config, run = prepared.config, prepared.run
    with closing(config.kept_store):
        open_store(config).runs.change_state(run, "sending", commits=2)
        with psycopg.connect(database) as connection:
            assert connection.execute(statement).rowcount
        told: list[str] = []
        with elsewhere(config) as there:
            summary, is_new = report_of(there, run, told.append)
        assert is_new
        assert f"{5 - kept} rows of run" in "".join(told)
        assert summary.statuses[Status.UPDATED] == kept
        assert summary.statuses[Status.UNKNOWN] == 5 - kept
        store = open_store(config)
        with store.ledger(run, None, None) as ledger:
            assert [each.row for each in ledger.results(1, 9)] == [1, 2, 3, 4, 5]
        assert report_of(config, run)[0].statuses == summary.statuses
        store.files(run).remove()
        store.runs.forget(run)
        with psycopg.connect(database) as connection:
            left = connection.execute("select count(*) from pipeline.results").fetchall()
            assert left == [(0 if kept else 2,)]  # what has lost its name is nobody's
