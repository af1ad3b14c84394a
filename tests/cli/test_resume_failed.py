"""`pipeline resume --failed`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.store.on_files import FileStore
from tests.cli.command import Ended, typed
from tests.workplace import Simulator, coupon, drop


def sent(folder: Path, *lines: str) -> str:
    """The name of the run that sent them."""
    drop(folder, *lines)
    done = typed(folder, "run", "--yes", "--quiet", "--json", "inputs")
    return str(json.loads(done.out)["run"])


def failed(folder: Path, *arguments: str) -> Ended:
    return typed(folder, "resume", "--failed", "--json", *arguments)


def broken(row: int) -> str:
    return coupon(row).replace("elven_shield", "no_such_sku")


def test_only_rows_that_did_not_succeed_are_sent_and_keep_their_numbers(
    shop: Path, vendor: Simulator
) -> None:
    run = sent(shop, coupon(1), broken(2), coupon(3).replace("2026-12-01T", "x"), coupon(4))
    offset = len(list(vendor.get("log")))
    done = failed(shop, run, "--yes")
    summary = json.loads(done.out)
    assert (done.code, summary["rows"], summary["statuses"]["rejected"]) == (1, 1, 1)
    assert len(list(vendor.get("log"))) == offset + 1
    errors = (shop / "reports" / summary["run"] / "errors.csv").read_text()
    assert f",{summary['run']},2,xsolla.coupon,shop,rejected," in errors
    assert summary["input"]["rows"] == 4
    assert f"run {run} that did not succeed" in done.words
    assert summary["run"].split("-")[1] == "coupons"


def test_where_all_succeeded_there_is_nothing_to_do(shop: Path) -> None:
    run = sent(shop, coupon(1))
    done = failed(shop, run, "--yes")
    assert (done.code, done.out) == (0, "")
    assert "nothing to do" in done.words
    assert [path.name for path in (shop / ".pipeline" / "runs").iterdir()] == [run]


def test_a_person_is_asked(shop: Path, vendor: Simulator) -> None:
    run = sent(shop, broken(1), coupon(2))
    offset = len(list(vendor.get("log")))
    done = failed(shop, run)
    assert done.code == 2
    assert "--yes" in done.words
    assert len(list(vendor.get("log"))) == offset
    assert [path.name for path in (shop / ".pipeline" / "runs").iterdir()] == [run]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "--failed needs the name of a run"), (["monday"], "there is no run monday")],
)
def test_a_run_must_be_named(shop: Path, arguments: list[str], said: str) -> None:
    done = failed(shop, *arguments, "--yes")
    assert done.code == 2
    assert said in done.words


def test_a_refused_run_is_not_sent_by_the_back_door(shop: Path, vendor: Simulator) -> None:
    run = sent(shop, coupon(1), *[coupon(n).replace("2026-12-01T", "x") for n in (2, 3)])
    done = failed(shop, run, "--yes")
    assert done.code == 2
    assert "was refused" in done.words
    assert not list(vendor.get("log"))


def test_the_new_run_is_damaged_by_nothing_that_fails(shop: Path) -> None:
    """A ledger that cannot be read stops it before anything is written."""
    run = sent(shop, broken(1), coupon(2))
    ledger = shop / ".pipeline" / "runs" / run / "ledger.db"
    ledger.write_bytes(ledger.read_bytes()[:100])
    done = failed(shop, run, "--yes")
    assert done.code in {2, 3}
    assert "damaged" in done.words
    assert [path.name for path in (shop / ".pipeline" / "runs").iterdir()] == [run]


def test_the_same_file_is_not_taken_for_the_rows_that_failed(shop: Path) -> None:
    """The new run is killed; `run FILE` then sends the whole file."""
    run = sent(shop, coupon(1), broken(2))
    new = json.loads(failed(shop, run, "--yes").out)["run"]
    FileStore(shop / ".pipeline" / "ledger.db").runs.change_state(new, "sending")
    drop(shop, coupon(1), broken(2))
    whole = json.loads(typed(shop, "run", "--yes", "--quiet", "--json", "inputs").out)
    assert whole["rows"] == 2
