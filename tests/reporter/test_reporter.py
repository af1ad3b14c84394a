from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import RESULT_COLUMNS, SUCCESS, RowResult, Status
from pipeline.reporter import (
    ReconciliationError,
    ReportError,
    read_summary,
)
from tests.reporter.runs import (
    FACTS,
    RUN,
    jobs,
    read_csv,
    rejected,
    snapshot,
    source,
    text_frame,
    updated,
    write_report,
)

SKUS = text_frame({"sku": ["007", "=x", 'a "b"', "c,d"], "name": ["Sword", None, "", " y "]})


def test_rows_go_to_the_file_of_their_status(tmp_path: Path) -> None:
    results = [updated(1), rejected(2, "=HYPERLINK(x)"), updated(3)]
    summary = write_report(source(snapshot(tmp_path, SKUS), results), tmp_path / "reports" / RUN)
    folder = tmp_path / "reports" / RUN
    assert (folder / "success.csv").read_text() == (
        f"sku,name,{','.join(RESULT_COLUMNS)}\n"
        f"007,Sword,{RUN},1,xsolla.coupon,shop,updated,204,,,,1,0.123,,\n"
        f'"a ""b""",,{RUN},3,xsolla.coupon,shop,updated,204,,,,1,0.123,,\n'
    )
    assert (folder / "errors.csv").read_text() == (
        f"sku,name,{','.join(RESULT_COLUMNS)}\n"
        f"=x,,{RUN},2,xsolla.coupon,shop,rejected,422,0401,'=HYPERLINK(x),check the id,1,0.200,q,\n"
        f'"c,d", y ,{RUN},4,,,not_attempted,,not_sent,the run ended before this row was sent,'
        f"once the cause is gone: `pipeline resume {RUN}` sends it,0,0.000,,\n"
    )
    assert summary.statuses == {
        Status.UPDATED: 2, Status.UNCHANGED: 0, Status.SUPERSEDED: 0, Status.INVALID: 0,
        Status.REJECTED: 1, Status.CONFLICT: 0, Status.FAILED: 0,
        Status.UNKNOWN: 0, Status.NOT_ATTEMPTED: 1,
    }  # fmt: skip


def test_the_summary_vouches_for_both_files(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / RUN
    summary = write_report(source(snapshot(tmp_path, SKUS), map(updated, [1, 2])), folder)
    assert read_summary(folder / "summary.json") == summary
    for output in summary.outputs.values():
        content = (folder / output.name).read_bytes()
        assert output.sha256 == hashlib.sha256(content).hexdigest()
        assert (output.bytes, output.rows) == (len(content), 2)


def test_a_report_is_its_owners_alone_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / RUN
    folder.mkdir(parents=True, mode=0o755)
    write_report(source(snapshot(tmp_path, SKUS), []), folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    names = ("success.csv", "errors.csv", "report.html", "summary.json")
    assert modes == dict.fromkeys(names, 0o600)


def test_latest_names_the_last_report(tmp_path: Path) -> None:
    taken, reports = snapshot(tmp_path, SKUS), tmp_path / "reports"
    for run in ("first", "second"):
        write_report(source(taken, []), reports / run)
        assert (reports / "latest").readlink() == Path(run)
    assert sorted(path.name for path in reports.iterdir()) == [
        *("first", "index.html", "latest", "second")
    ]


def test_a_folder_in_the_place_of_latest_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "reports" / "latest" / "kept").mkdir(parents=True)
    write_report(source(snapshot(tmp_path, SKUS), []), tmp_path / "reports" / "r")
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [
        *("index.html", "latest", "r")
    ]


@pytest.mark.parametrize(
    ("layout", "start"),
    [
        ({"delimiter": ";", "newline": "\r\n", "has_bom": True}, b"\xef\xbb\xbfsku;name;_run;"),
        ({"delimiter": "\t"}, b"sku\tname\t_run\t"),
        ({"delimiter": None, "newline": None}, b"sku,name,_run,"),  # nothing to go by
    ],
)
def test_the_files_are_written_as_the_input_was(
    tmp_path: Path, layout: dict[str, object], start: bytes
) -> None:
    taken = snapshot(tmp_path, SKUS, **layout)
    write_report(source(taken, [updated(1)]), tmp_path / "r")
    content = (tmp_path / "r" / "success.csv").read_bytes()
    assert content.startswith(start)
    assert content.count(b"\r\n") == (2 if layout.get("newline") == "\r\n" else 0)


def test_an_error_file_dropped_in_again_does_not_grow(tmp_path: Path) -> None:
    write_report(source(snapshot(tmp_path, SKUS), []), tmp_path / "1")
    again = read_csv(tmp_path / "1" / "errors.csv")
    frame = text_frame({name: [row[name] for row in again] for name in again[0]})
    write_report(source(snapshot(tmp_path, frame), map(rejected, [1, 2, 3, 4])), tmp_path / "2")
    header, *_ = (tmp_path / "2" / "errors.csv").read_text().splitlines()
    assert header == f"sku,name,{','.join(RESULT_COLUMNS)}"
    rows = read_csv(tmp_path / "2" / "errors.csv")
    assert [row["sku"] for row in rows] == SKUS["sku"].to_list()
    assert {row["_status"] for row in rows} == {"rejected"}


def test_a_parquet_input_keeps_its_types(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "sku": ["a", "", None],
            "bonus": [[{"sku": "x", "quantity": 2}], [], None],
            "limits": [{"per_user": 1}, {"per_user": None}, None],
            "at": [datetime(2025, 1, 1, tzinfo=UTC), None, None],
            "day": [date(2025, 1, 1), None, None],
            "price": [Decimal("1.50"), None, None],
            "kind": pl.Series(["x", "y", None], dtype=pl.Categorical),
            "tier": pl.Series(["x", "y", None], dtype=pl.Enum(["x", "y"])),
            "raw": [b"\0\xff", b"", None],
            "n": pl.Series([1, 255, None], dtype=pl.UInt8),
            "on": [True, False, None],
            "_error": ["old", "old", "old"],
        }
    )
    folder = tmp_path / "p=1 [x]"  # letters that a path pattern would read
    folder.mkdir()
    taken = snapshot(folder, frame, kind="parquet", delimiter=None, newline=None)
    summary = write_report(source(taken, [updated(1), updated(3)]), folder / "r")
    own = frame.columns[:-1]
    success = pl.read_parquet((folder / "r" / "success.parquet").read_bytes())
    errors = pl.read_parquet((folder / "r" / "errors.parquet").read_bytes())
    assert success.columns == [*own, *RESULT_COLUMNS]
    assert success.select(own).equals(frame.select(own).gather([0, 2]))
    assert errors.select(own).equals(frame.select(own).gather([1]))
    assert errors["_error"].to_list() == ["the run ended before this row was sent"]
    assert summary.outputs["errors"].name == "errors.parquet"
    for path in (folder / "r").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_parquet_and_csv_tell_the_same(tmp_path: Path) -> None:
    results = [updated(1), rejected(2, "-x\ny"), RowResult(3, "", "", Status.INVALID)]
    for kind in ("csv", "parquet"):
        taken = snapshot(tmp_path, SKUS, kind=kind)
        write_report(source(taken, results), tmp_path / kind)
    for name in ("success", "errors"):
        told = read_csv(tmp_path / "csv" / f"{name}.csv")
        stored = pl.read_parquet(tmp_path / "parquet" / f"{name}.parquet")
        for column in ("sku", "_status", "_error", "_hint", "_operation", "_row"):
            cells = ["" if cell is None else str(cell) for cell in stored[column]]
            assert cells == [row[column] for row in told]


def test_a_run_of_no_rows_has_a_report(tmp_path: Path) -> None:
    summary = write_report(source(snapshot(tmp_path, SKUS.clear()), []), tmp_path / "r")
    assert (summary.rows, summary.exit_code) == (0, 0)
    assert (tmp_path / "r" / "success.csv").read_text().startswith("sku,name,_run")


@settings(max_examples=30)
@given(
    statuses=st.lists(st.none() | st.sampled_from(Status), max_size=30),
    kind=st.sampled_from(["csv", "parquet"]),
)
def test_rows_in_are_results_out(statuses: list[Status | None], kind: str) -> None:
    rows = range(1, len(statuses) + 1)
    results = [
        RowResult(row, "xsolla.coupon", "shop", status, error=f"for row {row}")
        for row, status in zip(rows, statuses, strict=True)
        if status
    ]
    expected = Counter(status or Status.NOT_ATTEMPTED for status in statuses)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = text_frame({"sku": [f"s{row}" for row in rows]})
        taken = snapshot(folder, frame, kind=kind)
        plan = {"shop": jobs(folder / "jobs.parquet", list(rows))}
        summary = write_report(source(taken, results, routes=plan), folder / "r")
        read = pl.read_csv if kind == "csv" else pl.read_parquet
        success, errors = (
            read((folder / "r" / output.name).read_bytes()).select("sku", "_row", "_status").rows()
            for output in summary.outputs.values()
        )
    assert {status: count for status, count in summary.statuses.items() if count} == expected
    assert {status in SUCCESS for _, _, status in success} <= {True}
    assert {status in SUCCESS for _, _, status in errors} <= {False}
    assert sorted(row for _, row, _ in (*success, *errors)) == list(rows)
    assert all(sku == f"s{row}" for sku, row, _ in (*success, *errors))
    assert summary.accounts["shop"].statuses == summary.statuses


@pytest.mark.parametrize(
    "change",
    [
        {"selected": 5},  # the reader counted more than the snapshot holds
        {"selected": 3},  # or less
    ],
)
def test_a_snapshot_that_lost_rows_has_no_report(tmp_path: Path, change: dict[str, int]) -> None:
    taken = snapshot(tmp_path, SKUS, **change)
    with pytest.raises(ReconciliationError, match="The reader counted"):
        write_report(source(taken, []), tmp_path / "r")
    assert list((tmp_path / "r").iterdir()) == []


def test_results_that_got_lost_leave_no_report(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, SKUS)
    given_source = source(taken, [updated(1)], recorded={Status.UPDATED: 2})
    with pytest.raises(ReconciliationError, match="2 results were recorded as updated, 1 were"):
        write_report(given_source, tmp_path / "r")
    assert list((tmp_path / "r").iterdir()) == []


def test_a_report_that_fails_leaves_no_summary_of_an_older_one(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, SKUS)
    write_report(source(taken, []), tmp_path / "r")
    with pytest.raises(ReconciliationError):
        write_report(source(taken, [updated(1), updated(1)]), tmp_path / "r")
    assert not (tmp_path / "r" / "summary.json").exists()
    assert not list((tmp_path / "r").glob(".*"))


def test_a_crash_between_the_renames_leaves_no_summary(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    (folder / "errors.csv").mkdir(parents=True)  # a name that a file cannot take
    (folder / "summary.json").write_text("of an older report")
    with pytest.raises(ReportError, match=r"r: the report cannot be written: .*irectory"):
        write_report(source(snapshot(tmp_path, SKUS), [updated(1)]), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["errors.csv", "success.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    taken = snapshot(tmp_path, SKUS)
    os.link(taken.path, tmp_path / "kept")
    frame = text_frame({"sku": ["x" * 100_000] * 40})
    big = snapshot(tmp_path, frame)
    import resource  # noqa: PLC0415 - only where it exists

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(ReportError, match="cannot be written: File too large"):
            write_report(source(big, []), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []


def test_a_broken_snapshot_is_told_in_one_line(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, SKUS)
    taken.path.write_bytes(taken.path.read_bytes()[:50])
    with pytest.raises(ReportError, match="the report cannot be written"):
        write_report(source(taken, []), tmp_path / "r")


def test_the_summary_tells_what_the_run_knows(tmp_path: Path) -> None:
    shop = replace(FACTS.accounts[0], quota="2/s", quota_per_s=2.0, sending_s=5.0, retries=3)
    facts = replace(
        FACTS,
        accounts=(shop,),
        is_simulated=True,
        warnings=("tags is ignored",),
        cleared={"xsolla.coupon": ("date_end",)},
        settings={"timezone": None},
        versions={"polars": "2.1"},
        exit_code=3,
    )
    results = [updated(1), updated(2, "eu"), RowResult(3, "", "", Status.INVALID)]
    summary = write_report(
        source(snapshot(tmp_path, SKUS), results, facts=facts, stopped={"shop": "refused"}),
        tmp_path / "r",
    )
    assert summary.why == "2 of 4 rows updated; 1 invalid, 1 not attempted"
    assert (summary.started, summary.ended) == (
        "2025-11-22T16:00:00.000Z", "2025-11-22T16:00:10.000Z",
    )  # fmt: skip
    assert (summary.seconds, summary.rows_per_s) == (10.0, 0.2)
    assert (summary.requests, summary.retries, summary.exit_code) == (7, 3, 3)
    assert summary.accounts["shop"].quota_used == 0.6
    assert summary.accounts["shop"].stopped == "refused"
    assert summary.accounts["eu"].rows == 1  # nobody spoke of it, yet it has a row
    assert sum(summary.without_account.values()) == 2
    parts = [*summary.accounts.values()]
    assert sum(part.rows for part in parts) + sum(summary.without_account.values()) == 4
    assert (summary.is_simulated, summary.warnings) == (True, ("tags is ignored",))
