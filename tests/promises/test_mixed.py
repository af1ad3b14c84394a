"""One file over three vendors and four operations; the simulator's log is the judge."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.model import InputError, Status
from tests.run.test_run import APPLIED_NEVER, FAULTS, LONG, once_each, report_of, send
from tests.workplace import configure_all, simulator

ROWS = int(os.environ.get("MIXED_ROWS", "10000"))  # `make test-long`: 100,000
COLUMNS = (  # noqa: SIM905 - read as a header
    "operation,external_id,promotion_id,instance_id,offer_id,"  # what is updated
    "name.en-US,bonus,date_start,date_end,attribute_conditions,"
    "redeem_total_limit,redeem_user_limit,redeem_code_limit,"
    "condition,limits.per_user,limits.recurrent_schedule,price_conditions,excluded_promotions,"
    "status,/_instance/xdm:name"
).split(",")
SHARED = {
    "bonus": "elven_shield",
    "date_start": "2026-12-01T00:00:00+01:00",
    "date_end": "2026-12-31T23:59:00+01:00",
    "attribute_conditions": "omit",
}


def coupon(row: int, entity: int) -> dict[str, str]:
    limits = dict.fromkeys(("redeem_total_limit", "redeem_user_limit", "redeem_code_limit"), "1")
    named = {"external_id": f"c{entity}", "name.en-US": f"row {row}"}
    return {"operation": "xsolla.coupon", **named, **SHARED, **limits}


def promotion(row: int, entity: int) -> dict[str, str]:
    named = {"promotion_id": str(1000 + entity), "name.en-US": f"row {row}"}
    rest = {
        "condition": "null",
        "limits.per_user": "1",
        "limits.recurrent_schedule": "null",
        "price_conditions": "null",
        "excluded_promotions": "[]",
    }
    return {"operation": "xsolla.bonus-promotion", **named, **SHARED, **rest}


def offer(row: int, entity: int) -> dict[str, str]:
    named = {"instance_id": f"i{entity}", "/_instance/xdm:name": f"row {row}"}
    return {"operation": "adobe.fallback-offer", **named, "status": "approved"}


def purchase(row: int, entity: int) -> dict[str, str]:
    """Its request does not tell the row; so each entity has at most one row of each status."""
    offer_id = f"0.0.0.1+-purchased_product+{100_000 + entity}"
    status = "inactive" if row % 2 else "active"
    return {"operation": "oracle.offer-status", "offer_id": offer_id, "status": status}


def rows_of_all(count: int) -> Iterator[dict[str, str]]:
    """Two rows in five are of Oracle, the others of the other operations in turn.

    Those go to 501 entities: of 10,000 rows twelve to each.
    """
    for row in range(1, count + 1):
        turn = row % 5
        if turn in {0, 3}:
            yield purchase(row, row if row % 10 else row - 7)
        else:
            yield {1: coupon, 2: promotion, 4: offer}[turn](row, row // 5 * 7919 % 167)


def write(path: Path, rows: Iterator[dict[str, str]], columns: Sequence[str] = COLUMNS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def updates_of(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Entity and what was written to it, of each update that a request carried."""
    if entry["operation"] not in {
        "xsolla.coupon",
        "xsolla.bonus-promotion",
        "adobe.fallback-offer",
        "oracle.offer-status",
    }:
        return
    body = json.loads(entry["body"])
    if entry["operation"] == "oracle.offer-status":
        for each in body["chargeOffers"]:
            yield each["ref"]["id"], {"1": "active", "2": "inactive"}[body["statusCode"]]
    elif entry["operation"] == "adobe.fallback-offer":
        yield entry["id"], next(op["value"] for op in body if op["path"].endswith("name"))
    else:
        yield entry["id"], body["name"]["en-US"]


def written_by(row: Mapping[str, str]) -> tuple[str, str]:
    """The same of a row of the file."""
    if row["operation"] == "oracle.offer-status":
        return row["offer_id"], row["status"]
    if row["operation"] == "adobe.fallback-offer":
        return row["instance_id"], row["/_instance/xdm:name"]
    return row.get("external_id") or row["promotion_id"], row["name.en-US"]


async def test_many_rows_over_four_operations_with_every_fault_on(tmp_path):
    """Counts add up; nothing reported as not applied was applied; each entity keeps its order."""
    rows = list(rows_of_all(ROWS))
    rows[996]["status"] = "nonsense"  # never becomes a job
    rows[1994]["date_end"] = "31.12.2026"
    rows[2990]["bonus"] = "no_such_sku"  # the vendor says no
    rows[3992]["offer_id"] = "0.0.0.1+-purchased_product+6660001"
    chances = {fault: 0.5 / ROWS if fault in LONG else 0.0013 for fault in FAULTS}
    script = tmp_path / "script.toml"
    script.write_text(once_each("c"))
    given = [part for name, chance in chances.items() for part in ("--fault", f"{name}={chance}")]
    with simulator(*given, "--seed", "11", "--script", str(script)) as vendor:
        config = configure_all(tmp_path, vendor, in_flight=32, more="timeout_s = 2.5")
        path = write(tmp_path / "inputs" / "launch.csv", iter(rows))
        summary = await send(path, config)
        log = [entry for entry in vendor.get("log") if entry["applied"] or entry["fault"]]
    report = report_of(summary, config)
    assert report["_row"].to_list() == list(range(1, ROWS + 1))
    assert summary.rows == ROWS == sum(summary.statuses.values())
    status = dict(zip(report["_row"], report["_status"], strict=True))
    missed = {*FAULTS} - {entry["fault"] for entry in log}
    assert not missed, "a fault never came up: the run proves too little"
    row_by_update = {written_by(row): number for number, row in enumerate(rows, 1)}
    assert len(row_by_update) == ROWS
    applied: defaultdict[str, list[int]] = defaultdict(list)
    for entry in sorted((e for e in log if e["applied"]), key=lambda e: e["seq"]):
        for update in updates_of(entry):
            applied[update[0]].append(row_by_update[update])
    applied_rows = {row for found in applied.values() for row in found}
    for row, how in status.items():
        if how in APPLIED_NEVER:
            assert row not in applied_rows, f"row {row} was reported {how} and was applied"
        if how == "updated":
            assert row in applied_rows, f"row {row} was reported updated and was not applied"
    for entity, found in applied.items():
        assert found == sorted(found), f"{entity}: an older row overwrote a newer one"
    assert status[997] == status[1995] == "invalid"
    assert status[2991] in {"rejected", "unknown"}  # unknown where a fault came first
    assert status[3993] == "unknown"  # Oracle answers 500 to a bad id: nobody can tell
    counts = Counter(status.values())
    print(counts, {name: account.requests for name, account in summary.accounts.items()})
    assert counts["updated"] > 0.99 * ROWS
    billing = summary.accounts["billing"].requests
    assert billing < 0.2 * 2 / 5 * ROWS  # groups of up to 20


async def test_of_groups_with_a_bad_id_each_exactly_the_bad_rows_are_refused(tmp_path):
    count, size = ROWS // 2, 20

    def rows() -> Iterator[dict[str, str]]:
        for row in range(1, count + 1):
            is_bad = row % size == row // size % size
            number = 6_660_000_000 + row if is_bad else 100_000 + row
            offer_id = f"0.0.0.1+-purchased_product+{number}"
            yield {"operation": "oracle.offer-status", "offer_id": offer_id, "status": "2"}

    with simulator() as vendor:
        config = configure_all(tmp_path, vendor, max_batch=size, more="attempts = 1")
        path = write(tmp_path / "groups.csv", rows(), ("operation", "offer_id", "status"))
        summary = await send(path, config)
        log = [entry for entry in vendor.get("log") if entry["applied"]]
    report = report_of(summary, config)
    wrong = report.filter(pl.col("_status") != "updated")["_row"].to_list()
    assert wrong == [row for row in range(1, count + 1) if row % size == row // size % size]
    assert summary.statuses[Status.UNKNOWN] == len(wrong)
    applied = Counter(offer_id for entry in log for offer_id, _ in updates_of(entry))
    assert len(applied) == count - len(wrong)
    assert set(applied.values()) == {1}
    requests = summary.accounts["billing"].requests
    print(f"{requests} requests for {len(wrong)} groups of {size} with one bad row")
    assert requests < 0.6 * count  # more than `count` if every row of a refused group went alone


async def test_the_failed_rows_of_one_operation_are_corrected_and_sent_again(tmp_path):
    """Their file has the columns of all operations; those of the others are empty now."""
    rows = list(rows_of_all(10))
    wrong = [number for number, row in enumerate(rows, 1) if row["operation"] == "xsolla.coupon"]
    for number in wrong:
        rows[number - 1]["date_end"] = "31.12.2026"
    with simulator() as vendor:
        config = configure_all(tmp_path, vendor)
        summary = await send(write(tmp_path / "inputs" / "launch.csv", iter(rows)), config)
        assert summary.statuses[Status.INVALID] == len(wrong) == 2
        errors = (config.reports / summary.run / "errors.csv").read_text()
        fixed = tmp_path / "inputs" / "fixed.csv"
        fixed.write_text(errors.replace("31.12.2026", "2026-12-31T23:59:00+01:00"))
        again = await send(fixed, config)
        assert again.statuses[Status.UPDATED] == again.rows == 2

        header, first, second = fixed.read_text().splitlines()
        at = header.split(",").index("offer_id")  # a column of Oracle's
        cells = second.split(",")
        cells[at] = "0.0.0.1+-purchased_product+7"
        fixed.write_text("\n".join([header, first, ",".join(cells)]) + "\n")
        filled = await send(fixed, config)
    assert filled.statuses[Status.INVALID] == 1
    (error,) = report_of(filled, config).filter(pl.col("_status") == "invalid")["_error"]
    assert "offer_id" in error


async def test_a_column_that_no_operation_knows_is_refused_also_in_a_file_of_ours(tmp_path):
    with simulator() as vendor:
        config = configure_all(tmp_path, vendor)
        rows = list(rows_of_all(5))
        rows[0]["date_end"] = "never"
        summary = await send(write(tmp_path / "inputs" / "launch.csv", iter(rows)), config)
        errors = (config.reports / summary.run / "errors.csv").read_text()
        changed = tmp_path / "inputs" / "changed.csv"
        changed.write_text(errors.replace("offer_id", "offer_ident", 1))
        with pytest.raises(InputError, match="column 'offer_ident': unknown column"):
            await send(changed, config)
