"""What one run left is damaged: only rows that meet its rows are held back, and all else works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.model import RunAborted, Status
from pipeline.reporter import Summary
from pipeline.run import RunEnvironment, carry_out, prepare, reopen
from pipeline.run.history import entries
from pipeline.runs import RunOptions
from pipeline.runs.retention import remove
from pipeline.store import LedgerError
from tests.run.test_old_rows import (
    cells,
    drop,
    name_held,
    named,
    names,
    requests,
    resume,
    rule,
    statuses,
    stopped_at,
    workplace,
)
from tests.run.test_run import send
from tests.workplace import ENVIRON, coupon

Damage = Callable[[Path], object]


def torn(folder: Path) -> None:
    ledger = folder / "ledger.db"
    ledger.write_bytes(ledger.read_bytes()[:5000])


def gone(folder: Path) -> None:
    (folder / "ledger.db").unlink()


def without_head(folder: Path) -> None:
    torn(folder)
    (folder / "run.json").write_text("{")


def without_file(folder: Path) -> None:
    gone(folder)
    (folder / "run.json").unlink()


RECORDS = [torn, gone, without_head, without_file]


def files_of(config: Config, run: str) -> Path:
    return config.ledger_folder / "runs" / run


async def monday_and_tuesday(tmp_path: Path, config: Config) -> tuple[Summary, Summary]:
    """Monday's rows 1 to 3 failed; Tuesday sent the entity of row 2."""
    monday = await send(drop(tmp_path, *(named(n, f"c{n}", "monday") for n in (1, 2, 3))), config)
    tuesday = await send(drop(tmp_path, named(1, "c2", "tuesday"), name="t.csv"), config)
    assert monday.statuses[Status.FAILED] == 3
    return monday, tuesday


FAIL_ONCE = rule("/coupon/c[123]$", "425", "ok")


@pytest.mark.parametrize("damage", RECORDS)
async def test_only_rows_that_meet_rows_of_a_damaged_run_are_held_back(
    tmp_path: Path, damage: Damage
) -> None:
    said: list[str] = []
    async with workplace(tmp_path, FAIL_ONCE) as (vendor, config):
        monday, tuesday = await monday_and_tuesday(tmp_path, config)
        damage(files_of(config, tuesday.run))
        offset = requests(vendor)
        back = prepare(config.reports / monday.run / "errors.csv", config, RunOptions())
        summary = await carry_out(back, RunEnvironment(environ=ENVIRON, tell=said.append))
        assert names(vendor, offset) == ["monday 1", "monday 3"]
        assert name_held(vendor, "c2") == "tuesday 1"
    assert statuses(summary, config) == {1: "updated", 2: "failed", 3: "updated"}
    assert cells(summary, config, "_error_code")[2] == "overtaken"
    assert f"row 1 of run {tuesday.run} may have written" in cells(summary, config, "_error")[2]
    hint = cells(summary, config, "_hint")[2]
    assert f"the record of run {tuesday.run} is damaged: look the entity up" in hint
    assert "--force-order" in hint
    (words,) = said
    assert f"the record of run {tuesday.run} cannot be read" in words


async def test_a_damaged_run_that_no_row_meets_is_not_even_opened(tmp_path: Path) -> None:
    said: list[str] = []
    async with workplace(tmp_path, FAIL_ONCE) as (_, config):
        monday, tuesday = await monday_and_tuesday(tmp_path, config)
        torn(files_of(config, tuesday.run))
        errors = (config.reports / monday.run / "errors.csv").read_text().splitlines()
        back = tmp_path / "back.csv"
        back.write_text("\n".join([errors[0], errors[1], errors[3]]) + "\n")
        options = RunOptions(operation="xsolla.coupon")
        summary = await carry_out(
            prepare(back, config, options), RunEnvironment(environ=ENVIRON, tell=said.append)
        )
        anew = await send(drop(tmp_path, named(1, "c2", "wednesday"), name="w.csv"), config)
    assert (summary.statuses[Status.UPDATED], said) == (2, [])
    assert anew.statuses[Status.UPDATED] == 1  # it keeps no older place: nothing holds it back


async def test_rows_of_a_run_that_waited_for_one_that_is_damaged_now(tmp_path: Path) -> None:
    async with workplace(tmp_path) as (vendor, config):
        first = prepare(drop(tmp_path, coupon(1, "a"), coupon(2, "b")), config, RunOptions())
        newer = await send(drop(tmp_path, named(1, "b", "newer"), name="n.csv"), config)
        torn(files_of(config, newer.run))
        summary = await carry_out(first, RunEnvironment(environ=ENVIRON))
        assert name_held(vendor, "b") == "newer 1"
    assert statuses(summary, config) == {1: "updated", 2: "failed"}


@pytest.mark.parametrize("damage", RECORDS)
async def test_a_report_of_the_damaged_run_itself_comes_back_in_doubt(
    tmp_path: Path, damage: Damage
) -> None:
    """Its rows may have been applied; at Xsolla a repetition does no harm."""
    async with workplace(tmp_path, FAIL_ONCE) as (vendor, config):
        monday, _ = await monday_and_tuesday(tmp_path, config)
        damage(files_of(config, monday.run))
        summary = await send(config.reports / monday.run / "errors.csv", config)
        assert name_held(vendor, "c2") == "tuesday 1"
    assert statuses(summary, config) == {1: "updated", 2: "superseded", 3: "updated"}


@pytest.mark.parametrize("is_gone", [False, True])
async def test_where_nobody_can_tell_which_rows_meet_nothing_is_sent(
    tmp_path: Path, *, is_gone: bool
) -> None:
    async with workplace(tmp_path, FAIL_ONCE) as (vendor, config):
        monday, tuesday = await monday_and_tuesday(tmp_path, config)
        jobs = files_of(config, tuesday.run) / "jobs-shop.parquet"
        if is_gone:
            jobs.unlink()
        else:
            jobs.write_bytes(b"PAR1")
        errors = config.reports / monday.run / "errors.csv"
        sent = requests(vendor)
        with pytest.raises(RunAborted, match=f"the rows of run {tuesday.run} cannot be read"):
            await send(errors, config)
        assert requests(vendor) == sent
        (unfinished,) = entries(config, only_unfinished=True)
        forced = await send(errors, config, RunOptions(force_order=True))
        assert forced.statuses[Status.UPDATED] == 3
        remove(config, tuesday.run)  # as the words say
        late = await resume(unfinished.run.name, config)
    assert set(statuses(late, config).values()) <= {"unchanged", "superseded"}


async def test_the_damaged_run_itself_is_not_carried_on(tmp_path: Path) -> None:
    async with workplace(tmp_path, rule("/coupon/c2$", "timeout-after", "ok")) as (vendor, config):
        stopped = await stopped_at(drop(tmp_path, *map(coupon, (1, 2, 3))), config, vendor, "c2")
        sent = requests(vendor)
        torn(files_of(config, stopped.run))
        with pytest.raises(LedgerError, match=rf"{stopped.run}/ledger\.db is damaged"):
            await carry_out(reopen(stopped.run, config), RunEnvironment(environ=ENVIRON))
        assert requests(vendor) == sent
        other = await send(drop(tmp_path, coupon(9), name="other.csv"), config)
    assert other.statuses[Status.UPDATED] == 1
