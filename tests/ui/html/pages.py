"""Runs worth looking at: of any number of rows, with every status, pauses and hostile texts.

Results and samples follow from the row's number alone, so that a run of a million rows costs no
room.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.model import LINE_COLUMN, ROW_COLUMN, RowResult, Snapshot, Status
from pipeline.model.exchange import Exchange
from pipeline.model.sample import LATENCY_BOUNDS_S, Sample
from pipeline.reporter import AccountFacts, ReportSource, RunFacts
from pipeline.store.parquet import ROW_GROUP_ROWS, ParquetWriter
from pipeline.store.result_lines import line_of

STARTED = datetime(2026, 11, 23, 22, 5, tzinfo=UTC)
SCRIPT = "<script>document.title = 'owned'</script>"
HOSTILE = f'{SCRIPT}<img src=http://127.0.0.1:9/x onerror=alert(1)> & "quoted" \u202eright to left'
COUPON, STATUS = "xsolla.coupon", "oracle.offer-status"

_REJECTED = (
    (
        "0401-9505/1102",
        f"no such coupon: 'c%d' {HOSTILE}",
        "correct the row",
    ),
    (
        "0401-1501",
        "bonus[0].sku is not in it: 'lantern_%d'",
        "add the item to the catalog",
    ),
)


def result(row: int) -> RowResult:  # noqa: PLR0911 - one for each status
    """Nine rows in ten are updated; the others end in every other way."""
    account, operation = ("shop", COUPON) if row % 3 else ("billing", STATUS)
    seconds = 0.02 + (row * 7919 % 1000) / 2500
    done = RowResult(row, operation, account, Status.UPDATED, 204, attempts=1, seconds=seconds)
    match row % 97:
        case 1 | 2 | 3:
            code, error, hint = _REJECTED[row % 2]
            said = error.replace("%d", str(row))
            return done._replace(
                status=Status.REJECTED, http_status=422, error_code=code, error=said, hint=hint
            )
        case 10 | 11:
            error = f"line {row + 1}: column date_start: not a date and time: '01.12.{row}'"
            return RowResult(row, operation, account, Status.INVALID, error=error)
        case 20:
            return done._replace(
                status=Status.FAILED,
                http_status=503,
                error_code="http_503",
                error="Service Unavailable",
                hint="the vendor was down: send the row again",
                attempts=5,
                seconds=31.5 + row % 13,
            )
        case 30:
            return done._replace(
                status=Status.UNKNOWN,
                http_status=None,
                error_code="no_reply",
                error="the connection was lost after the request was sent",
                hint="ask Oracle whether the status was set",
                attempts=2,
            )
        case 40:
            return RowResult(row, operation, account, Status.UNCHANGED)
        case 50:
            return RowResult(row, operation, account, Status.SUPERSEDED)
        case 60:
            return RowResult(
                row,
                operation,
                account,
                Status.NOT_ATTEMPTED,
                error_code="behind_unknown",
                error="it waits behind an unknown row of its entity",
                hint="settle that row first",
            )
        case 70 | 71 | 72 | 73:
            return done._replace(attempts=2, seconds=seconds + 1)
        case _:
            return done


def exchange(row: int) -> Exchange:
    request = f'curl -X PUT https://store.xsolla.com/c{row} --data \'{{"name": "{HOSTILE}"}}\''
    reply = f'HTTP 422 Unprocessable Entity\nX-Request-Id: 7\n\n{{"errorMessage": "{HOSTILE}"}}'
    return Exchange(row, Status.REJECTED, result(row).error_code, request, reply)


def good(row: int) -> RowResult:
    """Every row is updated."""
    return RowResult(row, COUPON, "shop", Status.UPDATED, 204, attempts=1, seconds=0.05)


def samples(rows: int, accounts: tuple[str, ...], seconds: int) -> Iterator[Sample]:
    """A sample a second of each account; some pauses, slow stretches, and a break of an hour."""
    per_s = max(1, rows // max(1, seconds) // len(accounts))
    for second in range(seconds):
        at_s = STARTED.timestamp() + second + 1 + (3600 if second > seconds * 0.7 else 0)
        for number, account in enumerate(accounts):
            is_paused = len(accounts) > 1 and not number and 30 < second % 150 < 42
            sent = 0 if is_paused else per_s - (second * 31 % 7) * per_s // 20
            if number and 300 < second < 330:
                sent = second % 10 == 0
            slow = 1 + (second * 17 % 23) / 8 + (4 if second % 90 > 80 else 0)
            latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)
            for each in range(12):
                place = bisect_left(LATENCY_BOUNDS_S, 0.02 * slow * (1 + each * each / 30))
                latencies[place] += sent // 12 + (each < sent % 12)
            yield Sample(
                account=account,
                at_s=at_s,
                seconds=1.0,
                sent=sent,
                in_flight=min(16, int(sent * 0.03 * slow) + (not is_paused)),
                in_flight_limit=8 if second % 150 < 60 else 16,
                pause_left_s=2.0 if is_paused else 0.0,
                latencies=tuple(latencies) if sent else (),
                allowed_per_s=per_s * (0.8 if number and 200 < second < 280 else 1.1),
                throttled=second % 3 if number and 195 < second < 203 else 0,
                is_probing=bool(number) and 300 < second < 330,
            )


def source_of(
    folder: Path,
    rows: int,
    *,
    run: str = "20261123T220500Z-night coupons-abcd",
    is_faulty: bool = True,
    seconds: int = 400,
    **facts: Any,
) -> ReportSource:
    """All that a report of such a run is made from; its snapshot goes into `folder`."""
    accounts = ("shop", "billing") if is_faulty else ("shop",)
    of_row = result if is_faulty else good
    known = RunFacts(
        started=STARTED,
        ended=STARTED + timedelta(seconds=seconds),
        accounts=tuple(_account(name, rows // len(accounts), seconds) for name in accounts),
        cleared={COUPON: ("attribute_conditions", "date_end")} if is_faulty else {},
        kept=("oracle.offer-status",) if is_faulty else (),
        warnings=(f"rows that look odd: {HOSTILE}",) if is_faulty else (),
        settings={"operation": None, "accounts": [{"name": "shop", "quota": ["50/s"]}]},
        versions={"offer-pipeline": "0.1.0"},
    )
    return ReportSource(
        snapshot=snapshot(folder, rows),
        run=run,
        lines=lambda first, last: (
            line_of(of_row(row), seed=0) for row in range(first, min(last, rows) + 1)
        ),
        facts=replace(known, **facts),
        samples=lambda: samples(rows, accounts, seconds if rows else 0),
        exchanges=lambda: map(exchange, range(1, min(4, rows + 1))) if is_faulty else (),
    )


def snapshot(folder: Path, rows: int) -> Snapshot:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "snapshot.parquet"
    text = dict.fromkeys(("external_id", "name.en-US", SCRIPT), pl.String())
    schema = {ROW_COLUMN: pl.Int64(), LINE_COLUMN: pl.Int64(), **text}
    with ParquetWriter(path, schema) as writer:
        for first in range(1, rows + 1, ROW_GROUP_ROWS):
            number = pl.int_range(first, min(first + ROW_GROUP_ROWS, rows + 1), eager=True)
            name = pl.format("Lantern {} <b>bold</b>", pl.col(ROW_COLUMN))
            frame = pl.DataFrame({ROW_COLUMN: number, LINE_COLUMN: number + 1})
            writer.write(
                frame.with_columns(
                    pl.format("c{}", pl.col(ROW_COLUMN)).alias("external_id"),
                    name.alias("name.en-US"),
                    pl.lit("x" * 200).alias(SCRIPT),
                )
            )
    return Snapshot(
        path=path,
        source=Path("inputs/xsolla.coupon/night coupons.csv"),
        kind="csv",
        is_compressed=False,
        sha256="0" * 64,
        size_bytes=rows * 100,
        columns=tuple(text),
        rows=rows,
        selected=rows,
        delimiter=",",
        newline="\n",
    )


def _account(name: str, requests: int, seconds: int) -> AccountFacts:
    per_s = max(1, round(requests / max(1, seconds) * 1.2))
    return AccountFacts(
        name=name,
        vendor="xsolla" if name == "shop" else "oracle",
        host="store.xsolla.com" if name == "shop" else "billing.example.com",
        scope="project 44056" if name == "shop" else "",
        quota=f"{per_s}/s",
        quota_assumed=name == "billing",
        quota_per_s=per_s,
        requests=requests,
        retries=requests // 20,
        sending_s=float(seconds),
    )
