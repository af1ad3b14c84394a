"""What the public types promise; read by mypy, never run."""

from pathlib import Path
from typing import assert_type

from pipeline import RunOptions, Status, Summary, run_file, run_file_async


def at_once() -> None:
    summary = run_file("coupons.csv", confirm=True)
    assert_type(summary, Summary)
    assert_type(summary.statuses[Status.UPDATED], int)
    assert_type(summary.exit_code, int)
    run_file(Path("coupons.csv"), options=RunOptions(operation="xsolla.coupon"))
    run_file(7)  # type: ignore[arg-type]


async def awaited() -> None:
    assert_type(await run_file_async("coupons.csv", confirm=True), Summary)
