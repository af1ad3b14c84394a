"""An older row never overwrites a newer one, whichever way it comes back; the log is the judge.

In a database each command runs on another machine: it has a folder of its own.
"""

from __future__ import annotations

import csv
import json
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.config import Config, load_config
from pipeline.model import Status
from pipeline.reporter import Summary
from pipeline.run import RunEnvironment, carry_out, prepare, reopen
from pipeline.run.failed_rows import prepare_failed
from pipeline.runs import RunOptions, open_store
from pipeline.simulator import Rule, Running, SimulatorOptions, serve
from pipeline.vendors import load_vendors
from tests.run.machines import STORES, elsewhere, keep_in, ledger_line
from tests.workplace import COLUMNS, ENVIRON, JOURNEY, Simulator, configure_all, coupon, drop

ONE_TRY = "attempts = 1"
OFFER = ("operation", "instance_id", "/_instance/xdm:name", "status")
PURCHASE = ("operation", "offer_id", "status", "notes")
OTHER = "11111111-0913-4ca1-bd84-6309134ca1f6"
NOTES = '{"accountId": "0.0.0.1+-account+77", "comment": "by hand"}'


@pytest.fixture(autouse=True, params=STORES)
def _kept(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    keep_in(request.param, tmp_path, lambda: request.getfixturevalue("database"))


async def send(path: Path, config: Config, options: RunOptions | None = None) -> Summary:
    with elsewhere(config) as there:
        prepared = prepare(path, there, options or RunOptions())
        return await carry_out(prepared, RunEnvironment(environ=ENVIRON))


def rule(path: str, *replies: str) -> Rule:
    return Rule(path=re.compile(path), replies=replies, retry_after_s=0)


@asynccontextmanager
async def workplace(
    folder: Path, *rules: Rule, has_other: bool = False, journey: str = ""
) -> AsyncIterator[tuple[Running, Config]]:
    """A simulator that follows `rules`, and a configuration that leads there.

    has_other  it has a second account at Adobe, of another container
    journey    more settings of the account at Adobe
    """
    async with serve(SimulatorOptions(script=rules)) as vendor:
        base_url = vendor.base_urls["xsolla"]
        origin = "/".join(base_url.split("/")[:3])
        at = Simulator(base_url, origin)
        configure_all(folder, at, in_flight=1, max_batch=1, more=ONE_TRY)
        path = folder / "pipeline.toml"
        path.write_text(ledger_line(folder) + path.read_text())
        if has_other or journey:
            second = JOURNEY.format(url=origin, in_flight=1, more=ONE_TRY)
            second = re.sub(r'container_id = ".*"', f'container_id = "{OTHER}"', second)
            more = f'containers = ["{OTHER}"]\n{journey}\n'
            text = path.read_text().replace("ims_org", f"{more}ims_org")
            path.write_text(text + (second.replace("journey", "other") if has_other else ""))
        config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)
        with closing(config.kept_store):
            yield vendor, config


def table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def cells(summary: Summary, config: Config, column: str) -> dict[int, str]:
    """A column of ours in both result files, by row."""
    found: dict[int, str] = {}
    for output in summary.outputs.values():
        path = config.reports / summary.run / output.name
        with path.open(newline="", encoding="utf-8-sig") as file:
            delimiter = ";" if ";" in file.readline() else ","
            file.seek(0)
            found |= {int(r["_row"]): r[column] for r in csv.DictReader(file, delimiter=delimiter)}
    return dict(sorted(found.items()))


def statuses(summary: Summary, config: Config) -> dict[int, str]:
    return cells(summary, config, "_status")


def names(vendor: Running, offset: int = 0) -> list[str]:
    """The names that applied coupons gave, in the order in which they took effect."""
    log = [each for each in vendor.log(offset) if each["applied"]]
    return [json.loads(each["body"])["name"]["en-US"] for each in log]


def held(vendor: Running) -> dict[str, Any]:
    return {each["id"]: each["body"] for each in vendor.state()}


def name_held(vendor: Running, entity: str) -> str:
    return str(held(vendor)[entity]["name"]["en-US"])


def requests(vendor: Running) -> int:
    return len(list(vendor.log()))


async def stopped_at(path: Path, config: Config, vendor: Running, entity: str) -> Summary:
    """What is left of a run that is told to stop while the row of `entity` waits for its answer."""
    way = RunEnvironment(environ=ENVIRON)
    summaries: list[Summary] = []

    async def stop() -> None:
        while entity not in held(vendor):  # the log tells of it once the client has left
            await anyio.sleep(0.01)
        way.shared.interrupt(signal.SIGTERM)

    with elsewhere(config) as there:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            prepared = prepare(path, there, RunOptions(grace_s=0.1))
            summaries.append(await carry_out(prepared, way))
            tasks.cancel_scope.cancel()
    return summaries[0]


async def send_failed(run: str, config: Config) -> Summary:
    with elsewhere(config) as there:
        prepared = prepare_failed(run, there)
        assert prepared is not None
        return await carry_out(prepared, RunEnvironment(environ=ENVIRON))


async def resume(run: str, config: Config) -> Summary:
    with elsewhere(config) as there:
        return await carry_out(reopen(run, there), RunEnvironment(environ=ENVIRON))


def named(row: int, entity: str, day: str) -> str:
    return coupon(row, entity).replace(f"row {row}", f"{day} {row}")


# ---------------------------------------------------------------------------- in `resume --failed`


async def test_a_failed_row_is_superseded_by_a_later_one_of_its_run(tmp_path: Path) -> None:
    lines = [coupon(row, "e" if row in {5, 9} else None) for row in range(1, 12)]
    async with workplace(tmp_path, rule("/coupon/(e|c2)$", "425", "ok")) as (
        vendor,
        config,
    ):
        monday = await send(drop(tmp_path, *lines), config)
        before = statuses(monday, config)
        offset = requests(vendor)
        again = await send_failed(monday.run, config)
        assert before == dict.fromkeys(range(1, 12), "updated") | {2: "failed", 5: "failed"}
        assert statuses(again, config) == {2: "updated", 5: "superseded"}
        assert names(vendor, offset) == ["row 2"]
        assert name_held(vendor, "e") == "row 9"
    assert f"row 9 of run {monday.run}" in cells(again, config, "_error")[5]
    assert again.exit_code == 0
    assert "did not succeed" in again.warnings[0]


async def test_rows_that_failed_both_are_sent_in_their_order(tmp_path: Path) -> None:
    lines = [coupon(row, "e") for row in range(1, 4)]
    async with workplace(tmp_path, rule("/coupon/e$", "ok", "425", "425", "ok")) as (
        vendor,
        config,
    ):
        monday = await send(drop(tmp_path, *lines), config)
        again = await send_failed(monday.run, config)
        assert statuses(again, config) == {2: "updated", 3: "updated"}
        assert names(vendor) == ["row 1", "row 2", "row 3"]
        assert prepare_failed(again.run, config) is None
        once_more = await send_failed(monday.run, config)
        assert statuses(once_more, config) == {2: "superseded", 3: "unchanged"}
        assert len(names(vendor)) == 3


@pytest.mark.parametrize(
    ("row_5", "expected"),
    [
        ({"/_instance/xdm:name": "old"}, "updated"),  # apart from the status
        ({"status": "archived"}, "superseded"),  # the status is what row 9 set
        ({"/_instance/xdm:name": "old", "status": "archived"}, "failed"),  # half of it
    ],
)
async def test_what_a_newer_row_left_alone_is_sent(
    tmp_path: Path, row_5: dict[str, str], expected: str
) -> None:
    common = {"operation": "adobe.fallback-offer"}
    rows = [common | {"instance_id": f"i{n}", "status": "approved"} for n in range(1, 10)]
    rows[4] = common | {"instance_id": "e"} | row_5
    rows[8] = common | {"instance_id": "e", "status": "approved"}
    async with workplace(tmp_path, rule("/instances/e$", "425", "ok")) as (vendor, config):
        monday = await send(table(tmp_path / "offers.csv", OFFER, rows), config)
        assert statuses(monday, config)[5] == "failed"
        again = await send_failed(monday.run, config)
        offer = held(vendor)["e"]["_instance"]
    assert statuses(again, config) == {5: expected}
    assert offer["xdm:status"].endswith("approved")
    assert (offer["xdm:name"] == "old") == (expected == "updated")
    if expected == "failed":
        assert cells(again, config, "_error_code") == {5: "overtaken"}
        (said,) = cells(again, config, "_error").values()
        assert f"row 9 of run {monday.run}" in said
        assert f"row 5 of run {monday.run}" in said


async def test_a_newer_row_counts_whichever_account_it_went_through(tmp_path: Path) -> None:
    """Accounts are labels: a row of one names the container of the other."""
    columns = (*OFFER, "container_id")
    common = {"operation": "adobe.fallback-offer", "status": "approved"}
    rows = [common | {"instance_id": name, "container_id": OTHER} for name in ("e", "f")]
    rules = (rule("/instances/[ef]$", "425", "ok"),)
    async with workplace(tmp_path, *rules, has_other=True) as (_, config):
        through = [RunOptions(account=name) for name in ("journey", "other")]
        monday = await send(table(tmp_path / "m.csv", columns, rows), config, through[0])
        assert monday.statuses[Status.FAILED] == 2
        await send(table(tmp_path / "t.csv", columns, rows[:1]), config, through[1])
        again = await send_failed(monday.run, config)
    assert statuses(again, config) == {1: "superseded", 2: "updated"}


async def test_a_newer_row_that_may_have_been_applied_holds_an_older_one_back(
    tmp_path: Path,
) -> None:
    rows = [
        {"operation": "oracle.offer-status", "offer_id": offer_id, "status": status, "notes": notes}
        for offer_id, status, notes in (
            ("0.0.0.1+-purchased_product+1", "active", ""),
            ("0.0.0.1+-purchased_product+1", "inactive", NOTES),
            ("0.0.0.1+-purchased_product+2", "inactive", NOTES),
        )
    ]
    rules = (
        Rule(
            path=re.compile("/offers$"),
            body=re.compile(r'"[^"]*\+1"'),
            replies=("425", "500"),
        ),
        Rule(path=re.compile("/offers$"), body=re.compile(r'"[^"]*\+2"'), replies=("500", "ok")),
    )
    async with workplace(tmp_path, *rules) as (vendor, config):
        monday = await send(table(tmp_path / "purchases.csv", PURCHASE, rows), config)
        assert statuses(monday, config) == {1: "failed", 2: "unknown", 3: "unknown"}
        sent = requests(vendor)
        again = await send_failed(monday.run, config)
        assert requests(vendor) == sent
    assert statuses(again, config) == {1: "failed", 2: "unknown", 3: "unknown"}
    codes = {1: "overtaken", 2: "unsettled", 3: "unsettled"}
    assert cells(again, config, "_error_code") == codes


async def test_what_may_have_been_applied_is_read_before_it_is_sent_again(tmp_path: Path) -> None:
    """A change that must not be repeated was applied, and neither answer nor read told so."""
    columns = ("operation", "instance_id", "add:/_instance/note", "remove:/_instance/note")
    common = {"operation": "adobe.fallback-offer", "instance_id": "e"}
    rows = [common | {"add:/_instance/note": "x"}, common | {"remove:/_instance/note": "true"}]
    rules = (
        Rule(re.compile("/instances/e$"), ("ok", "500-after", "ok"), method="PATCH"),
        Rule(re.compile("/instances/e$"), ("503", "ok"), method="GET"),
    )
    async with workplace(tmp_path, *rules, journey="preconditions = false") as (vendor, config):
        monday = await send(table(tmp_path / "offers.csv", columns, rows), config)
        assert statuses(monday, config) == {1: "updated", 2: "unknown"}
        again = await send_failed(monday.run, config)
        methods = [each["method"] for each in vendor.log() if each["id"] == "e"]
    assert statuses(again, config) == {2: "updated"}
    assert methods == ["PATCH", "PATCH", "GET", "GET"]


# ---------------------------------------------------------------------------- in a late resume


async def test_a_late_resume_leaves_out_what_tuesday_updated(tmp_path: Path) -> None:
    lines = [named(row, f"c{row}", "monday") for row in range(1, 11)]
    async with workplace(tmp_path, rule("/coupon/c5$", "timeout-after", "ok")) as (vendor, config):
        monday = await stopped_at(drop(tmp_path, *lines), config, vendor, "c5")
        assert monday.statuses[Status.NOT_ATTEMPTED] == 5
        assert statuses(monday, config)[5] == "unknown"  # and open, since the run was stopped
        tuesday = await send(
            drop(tmp_path, *[named(row, f"c{row}", "tuesday") for row in (2, 7, 8)], name="t.csv"),
            config,
        )
        offset = requests(vendor)
        late = await resume(monday.run, config)
        found = statuses(late, config)
        assert tuesday.statuses[Status.UPDATED] == 3
        assert names(vendor, offset) == ["monday 5", "monday 6", "monday 9", "monday 10"]
        assert [name_held(vendor, f"c{n}") for n in (2, 7, 8)] == [
            "tuesday 2",
            *["tuesday 7", "tuesday 8"],
        ]
    assert {row for row, status in found.items() if status == "superseded"} == {7, 8}
    assert found[2] == found[5] == found[6] == found[10] == "updated"
    assert f"row 2 of run {tuesday.run}" in cells(late, config, "_error")[7]
    assert late.rows == 10


@pytest.mark.parametrize("newer", ["covers", "fails"])
async def test_a_row_in_doubt_is_not_repeated_over_a_newer_one(tmp_path: Path, newer: str) -> None:
    """A process was killed while row 1 was under way."""
    replies = {"covers": ("ok",), "fails": ("425", "ok")}[newer]
    async with workplace(tmp_path, rule("/coupon/e$", *replies)) as (vendor, config):
        killed = prepare(drop(tmp_path, coupon(1, "e"), coupon(2)), config, RunOptions())
        with open_store(config).ledger(killed.run, None, killed.lease) as ledger:
            ledger.record([1], [])
        killed.lease.release()
        await send(drop(tmp_path, named(1, "e", "tuesday"), name="t.csv"), config)
        late = await resume(killed.run, config)
        applied = names(vendor)
    if newer == "covers":
        assert statuses(late, config) == {1: "superseded", 2: "updated"}
        assert applied == ["tuesday 1", "row 2"]
    else:
        assert statuses(late, config) == {1: "updated", 2: "updated"}
        assert sorted(applied) == ["row 1", "row 2"]


async def test_what_an_error_file_sent_meanwhile_is_not_sent_by_the_resume(tmp_path: Path) -> None:
    lines = [named(row, f"c{row}", "monday") for row in range(1, 8)]
    async with workplace(tmp_path, rule("/coupon/c3$", "timeout-after", "ok")) as (vendor, config):
        monday = await stopped_at(drop(tmp_path, *lines), config, vendor, "c3")
        errors = config.reports / monday.run / "errors.csv"
        mended = tmp_path / "mended.csv"
        mended.write_text(errors.read_text().replace("monday 7", "mended 7"))
        await send(mended, config)
        offset = requests(vendor)
        late = await resume(monday.run, config)
        assert names(vendor, offset) == []
        assert name_held(vendor, "c7") == "mended 7"
    found = statuses(late, config)
    assert {row: found[row] for row in (4, 5, 6)} == dict.fromkeys((4, 5, 6), "unchanged")
    assert found[7] == "superseded"


# ---------------------------------------------------------------------------- in a re-dropped file


def in_libreoffice(path: Path, saved: Path, **mended: str) -> Path:
    """The file as LibreOffice saves it here: text quoted, numbers not, `;`, a BOM, CRLF."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    lines = [
        ";".join(
            cell if re.fullmatch(r"[0-9.]*", cell) else '"' + cell.replace('"', '""') + '"'
            for cell in row
        )
        for row in rows
    ]
    text = "\r\n".join(lines) + "\r\n"
    for old, new in mended.items():
        assert old in text
        text = text.replace(old, new)
    saved.write_bytes(b"\xef\xbb\xbf" + text.encode())
    return saved


@pytest.mark.parametrize("is_saved_by_libreoffice", [False, True])
async def test_a_mended_error_file_comes_back_two_days_later(
    tmp_path: Path, *, is_saved_by_libreoffice: bool
) -> None:
    lines = [named(row, f"c{row}", "monday") for row in range(1, 9)]
    broken = [line.replace("elven_shield", "no_such_sku") for line in lines[4:]]
    async with workplace(tmp_path) as (vendor, config):
        monday = await send(drop(tmp_path, *lines[:4], *broken), config)
        assert monday.statuses[Status.REJECTED] == 4
        tuesday = await send(drop(tmp_path, named(7, "c7", "tuesday"), name="t.csv"), config)
        errors = config.reports / monday.run / "errors.csv"
        back = tmp_path / "back.csv"
        if is_saved_by_libreoffice:
            in_libreoffice(errors, back, no_such_sku="elven_shield")
            assert ";5;" in back.read_text()
        else:
            back.write_text(errors.read_text().replace("no_such_sku", "elven_shield"))
        offset = requests(vendor)
        wednesday = await send(back, config)
        assert names(vendor, offset) == ["monday 5", "monday 6", "monday 8"]
        assert name_held(vendor, "c7") == "tuesday 7"
    found = cells(wednesday, config, "_status")
    assert found == {1: "updated", 2: "updated", 3: "superseded", 4: "updated"}
    assert f"row 1 of run {tuesday.run}" in cells(wednesday, config, "_error")[3]


async def test_a_report_with_superseded_rows_comes_back_and_sends_nothing(tmp_path: Path) -> None:
    async with workplace(tmp_path, rule("/coupon/c[12]$", "425", "ok")) as (vendor, config):
        monday = await send(drop(tmp_path, *map(coupon, (1, 2, 3))), config)
        await send(drop(tmp_path, named(1, "c1", "tuesday"), name="t.csv"), config)
        wednesday = await send(config.reports / monday.run / "errors.csv", config)
        assert statuses(wednesday, config) == {1: "superseded", 2: "updated"}
        sent = requests(vendor)
        thursday = await send(config.reports / wednesday.run / "success.csv", config)
        assert statuses(thursday, config) == {1: "superseded", 2: "unchanged"}
        friday = await send(config.reports / thursday.run / "success.csv", config)
        assert statuses(friday, config) == {1: "superseded", 2: "unchanged"}
        assert requests(vendor) == sent
        assert name_held(vendor, "c1") == "tuesday 1"


async def test_the_place_in_time_outlives_a_report_of_a_report(tmp_path: Path) -> None:
    """Row 1 fails on Monday and, dropped back, on Wednesday; Tuesday updated the same coupon."""
    async with workplace(tmp_path, rule("/coupon/e$", "425", "425", "ok")) as (
        vendor,
        config,
    ):
        monday = await send(drop(tmp_path, named(1, "e", "monday"), coupon(2)), config)
        tuesday_file = drop(tmp_path, named(1, "e", "tuesday"), name="t.csv")
        tuesday = await send(tuesday_file, config)
        assert (monday.exit_code, tuesday.exit_code) == (1, 1)
        wednesday = await send(config.reports / tuesday.run / "errors.csv", config)
        assert statuses(wednesday, config) == {1: "updated"}
        thursday = await send(config.reports / monday.run / "errors.csv", config)
        assert statuses(thursday, config) == {1: "superseded"}
        assert name_held(vendor, "e") == "tuesday 1"


async def test_an_error_file_that_was_not_mended_does_not_undo_the_mended_one(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path, rule("/coupon/e$", "425", "ok")) as (vendor, config):
        monday = await send(drop(tmp_path, coupon(1, "e"), coupon(2)), config)
        errors = config.reports / monday.run / "errors.csv"
        mended = tmp_path / "mended.csv"
        mended.write_text(errors.read_text().replace("row 1", "mended"))
        await send(mended, config)
        again = await send(errors, config)
        assert statuses(again, config) == {1: "superseded"}
        assert name_held(vendor, "e") == "mended"
        mended.write_text(errors.read_text().replace("row 1", "mended twice"))
        assert statuses(await send(mended, config), config) == {1: "updated"}
        assert name_held(vendor, "e") == "mended twice"


async def test_rows_out_of_their_order_in_time_do_not_overwrite_newer_ones(tmp_path: Path) -> None:
    async with workplace(tmp_path, rule("/coupon/e$", "425", "425", "ok")) as (
        vendor,
        config,
    ):
        monday = await send(drop(tmp_path, coupon(1, "e"), coupon(2, "e"), coupon(3)), config)
        errors = config.reports / monday.run / "errors.csv"
        header, *rows = errors.read_text().splitlines()
        back = tmp_path / "back.csv"
        back.write_text("\n".join([header, *reversed(rows), rows[1]]) + "\n")
        again = await send(back, config)
        assert statuses(again, config) == {1: "updated", 2: "failed", 3: "failed"}
        assert set(cells(again, config, "_error_code").values()) == {"", "overtaken"}
        assert name_held(vendor, "e") == "row 2"
        last = await send(config.reports / again.run / "errors.csv", config)
        assert statuses(last, config) == {1: "superseded", 2: "unchanged"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (RunOptions(max_invalid=1), {1: "invalid", 2: "invalid", 3: "updated"}),
        (RunOptions(force_order=True), dict.fromkeys((1, 2, 3), "updated")),
    ],
)
async def test_a_run_that_nobody_knows_has_no_place_in_time(
    tmp_path: Path, options: RunOptions, expected: dict[int, str]
) -> None:
    file = tmp_path / "old.csv"
    lines = [f"{coupon(1)},20200101T000000Z-x-abcd,5", f"{coupon(2)},,7", f"{coupon(3)},,"]
    file.write_text("\n".join([f"{COLUMNS},_run,_row", *lines]) + "\n")
    options = RunOptions(
        operation="xsolla.coupon",
        max_invalid=options.max_invalid,
        force_order=options.force_order,
    )
    async with workplace(tmp_path) as (_, config):
        summary = await send(file, config, options)
    assert statuses(summary, config) == expected
    if not options.force_order:
        assert "--force-order" in cells(summary, config, "_hint")[1]
