"""`pipeline run` and `pipeline check`: what is sent, what is said, the exit code."""

from __future__ import annotations

import csv
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.cli.command import pipeline, typed
from tests.workplace import COLUMNS, Simulator, configure, coupon, drop

SAMPLES = Path(__file__).parents[2] / "inputs" / "samples"
NO_SUCH_SKU = "no_such_sku"


def refused(row: int) -> str:
    """A row that the vendor says no to."""
    return coupon(row).replace("elven_shield", NO_SUCH_SKU)


def invalid(row: int) -> str:
    """A row that never becomes a job."""
    return coupon(row).replace("2026-12-01T", "01.12.2026 ")


def summaries(folder: Path) -> list[dict[str, Any]]:
    """Of every report, in the order of the file names."""
    found = [json.loads(path.read_text()) for path in folder.glob("reports/2*/summary.json")]
    return sorted(found, key=lambda summary: summary["input"]["file"])


def summary_of(folder: Path) -> dict[str, Any]:
    (summary,) = summaries(folder)
    return summary


def counted(summary: dict[str, Any]) -> dict[str, int]:
    return {status: rows for status, rows in summary["statuses"].items() if rows}


def runs_of(folder: Path) -> list[Path]:
    return list((folder / ".pipeline" / "runs").glob("*"))


def test_a_good_file_is_sent_and_the_exit_code_is_0(shop, vendor):
    drop(shop, coupon(1), coupon(2))
    ended = pipeline(shop, "run", "--yes")
    assert (ended.code, ended.out) == (0, "")
    assert counted(summary_of(shop)) == {"updated": 2}
    assert vendor.stats()["requests"] == 2
    assert "project 44056" in ended.words
    assert max(map(len, ended.err.splitlines())) <= max(80, len(str(shop)) + 80)


def test_each_message_about_a_row_is_told_once(shop, vendor):
    drop(shop, coupon(1), invalid(2))
    checked = typed(shop, "check", "inputs/xsolla.coupon/coupons.csv")
    assert (checked.out + checked.err).count("expected a date and time") == 1
    asked = typed(shop, "run", "--simulate", "inputs/xsolla.coupon/coupons.csv")
    assert "row 2 (line 3), column date_start" not in asked.words, "nobody was asked"
    assert asked.words.count("expected a date and time") == 1
    assert "coupons.csv, row 2" not in asked.words
    for command in ("verify", "undo", "resume"):
        refused_ = typed(shop, command, "latest")
        assert refused_.code == 2
        assert "was sent to a simulator, which is gone" in refused_.words


def test_former_flags_are_taken_and_their_new_names_told(shop, vendor):
    drop(shop, coupon(1))
    run = pipeline(shop, "run", "--yes", "--no-brake", "--keep-before")
    assert run.code == 0, run
    for former, new in {
        "--no-brake": "--no-fail-fast",
        "--keep-before": "--record-previous",
    }.items():
        assert f"{former} was renamed to {new}" in run.err
    assert counted(summary_of(shop)) == {"updated": 1}
    assert "add --record-previous" not in run.words


def test_wrong_rows_make_the_exit_code_1(shop, vendor):
    drop(shop, coupon(1), refused(2), invalid(3), coupon(4))
    ended = typed(shop, "run", "--yes")
    assert ended.code == 1
    assert counted(summary_of(shop)) == {"updated": 2, "rejected": 1, "invalid": 1}
    assert {entry["id"] for entry in vendor.get("log")} == {"c1", "c2", "c4"}
    for words in ("row 3 invalid: line 4: column date_start", "errors.csv"):
        assert words in ended.words


def test_nobody_to_ask_is_exit_code_2_and_leaves_nothing(shop, vendor):
    drop(shop, coupon(1))
    ended = pipeline(shop, "run")
    assert ended.code == 2
    assert "--yes" in ended.words
    assert vendor.stats()["requests"] == 0
    assert runs_of(shop) == []
    assert not list(shop.glob("reports/*"))


def test_a_missing_secret_is_named_and_nothing_is_sent(shop, vendor):
    drop(shop, coupon(1))
    ended = pipeline(shop, "run", "--yes", SHOP_KEY="")
    assert ended.code == 2
    for words in ("SHOP_KEY", "[accounts.shop]", "api_key"):
        assert words in ended.words
    assert vendor.stats()["requests"] == 0
    assert runs_of(shop) == []


def test_a_simulated_run_reads_no_secret_and_contacts_no_real_server(tmp_path):
    """Also with a configuration that names a server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        configure(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}")
        shutil.copytree(SAMPLES, tmp_path / "inputs" / "samples")
        drop(tmp_path, *map(coupon, range(1, 31)))
        own = pipeline(tmp_path, "run", "--simulate", SHOP_KEY="")
        samples = typed(tmp_path, "run", "--simulate", "inputs/samples", "--limit", "8")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert own.code == 0
    assert samples.code in {0, 1}
    assert all(summary["is_simulated"] for summary in summaries(tmp_path))
    assert len(summaries(tmp_path)) == 1 + len(
        [path for path in SAMPLES.rglob("*.*") if path.is_file()]
    )


def test_samples_cannot_reach_a_real_account(shop, vendor):
    shutil.copytree(SAMPLES, shop / "inputs" / "samples")
    ended = typed(shop, "run", "--yes", "inputs/samples/xsolla.coupon")
    assert ended.code == 2
    assert "--simulate" in ended.words
    assert vendor.stats()["requests"] == 0
    nothing = typed(shop, "run", "--yes")  # the drop folder does not hold them
    checked = typed(shop, "check")
    assert (checked.code, "No files in inputs: nothing to do." in checked.out) == (0, True)
    assert (nothing.code, "nothing to do" in nothing.words) == (0, True)


@pytest.mark.parametrize(
    ("options", "rows"), [(("--limit", "2"), [1, 2]), (("--rows", "2,4-5"), [2, 4, 5])]
)
def test_a_part_of_the_rows(shop, vendor, options, rows):
    drop(shop, *map(coupon, range(1, 7)))
    assert typed(shop, "run", "--yes", "inputs/xsolla.coupon", *options).code == 0
    assert sorted(entry["id"] for entry in vendor.get("log")) == [f"c{row}" for row in rows]
    assert summary_of(shop)["rows"] == len(rows)


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        ([coupon(1), coupon(2), invalid(3)], ["--strict"], "1 of 3 rows are invalid"),
        ([coupon(1), coupon(2), invalid(3)], ["--max-invalid", "20"], "more than 20%"),
        ([invalid(1), coupon(2), invalid(3)], [], "more than 50%"),
        ([coupon(1)], ["--min-rows", "2"], "fewer than the 2"),
        ([], ["--min-rows", "1"], "fewer than the 1"),
    ],
)
def test_too_much_wrong_sends_nothing(shop, vendor, lines, options, words):
    drop(shop, *lines)
    ended = typed(shop, "run", "--yes", *options)
    assert ended.code == 2
    assert words in ended.words
    assert vendor.stats()["requests"] == 0
    assert summary_of(shop)["exit_code"] == 2


def test_a_last_line_without_its_end_is_a_warning_and_under_strict_a_refusal(shop, vendor):
    """A file that was cut in its last cell looks so; one that was written so too."""
    path = drop(shop, coupon(1), coupon(2))
    path.write_text(path.read_text().removesuffix("\n"))
    ended = typed(shop, "run", "--yes", "--strict")
    assert ended.code == 2
    assert "the last line of the file has no line end, unlike those before" in ended.words
    assert vendor.stats()["requests"] == 0
    path = drop(shop, coupon(1), coupon(2), name="other.csv")
    path.write_text(path.read_text().removesuffix("\n"))
    assert typed(shop, "run", "--yes").code == 0
    assert "was the file cut?" in " ".join(summaries(shop)[-1]["warnings"])
    assert vendor.stats()["requests"] == 2


def test_the_brake_stops_at_20_equal_refusals(shop, vendor):
    drop(shop, *map(refused, range(1, 61)))
    ended = typed(shop, "run", "--yes")
    assert ended.code == 3
    assert "--no-fail-fast" in ended.words
    # those in flight, and as many whose replies are held, have arrived
    assert 20 <= vendor.stats()["requests"] < 20 + 2 * 16
    counts = counted(summary_of(shop))
    # a request whose connection was still being made has certainly not arrived
    assert counts["rejected"] + counts.get("failed", 0) + counts["not_attempted"] == 60
    assert counts["rejected"] == vendor.stats()["requests"]


def test_without_the_brake_all_are_sent(shop, vendor):
    drop(shop, *map(refused, range(1, 61)))
    assert typed(shop, "run", "--yes", "--no-fail-fast").code == 1
    assert vendor.stats()["requests"] == 60


def test_quiet_says_nothing_but_errors(shop, vendor):
    drop(shop, coupon(1), refused(2))
    ended = typed(shop, "run", "--yes", "--quiet")
    assert (ended.code, ended.out, ended.err) == (1, "", "")
    broken = typed(shop, "run", "--yes", "--quiet", "no.csv")
    assert (broken.code, broken.out) == (2, "")
    assert "no.csv: there is no such file" in broken.words


def test_json_is_one_line_on_stdout(shop, vendor):
    drop(shop, coupon(1), refused(2))
    ended = pipeline(shop, "run", "--yes", "--json")
    assert ended.code == 1
    assert ended.out.count("\n") == 1
    told = json.loads(ended.out)
    assert counted(told) == {"updated": 1, "rejected": 1}
    assert told["exit_code"] == 1
    assert told["run"] == summary_of(shop)["run"]


def test_an_error_file_is_mended_and_dropped_back_in(shop, vendor):
    """Its rows keep their place in time; nothing newer was sent for them, so they are sent."""
    path = drop(shop, coupon(1), refused(2), coupon(3))
    assert typed(shop, "run", "--yes").code == 1
    assert not path.exists()  # what was dropped was put away
    (errors,) = shop.glob("reports/2*/errors.csv")
    back = path.with_name("errors.csv")
    back.write_text(errors.read_text().replace(NO_SUCH_SKU, "elven_shield"))
    assert typed(shop, "run", "--yes").code == 0
    assert [entry["id"] for entry in vendor.get("log")][3:] == ["c2"]
    (success,) = [
        path
        for path in shop.glob("reports/2*/success.csv")
        if path.parent.name != errors.parent.name
    ]
    with success.open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert list(row)[: COLUMNS.count(",") + 1] == COLUMNS.split(",")
    assert (row["external_id"], row["_status"]) == ("c2", "updated")


def test_a_broken_file_among_others_is_exit_code_1(shop, vendor):
    good = drop(shop, coupon(1), name="a.csv")
    drop(shop, coupon(2) + ",x", name="b.csv")
    drop(shop, coupon(3), name="c.csv")
    frame = pl.read_csv(good, infer_schema=False).with_columns(external_id=pl.lit("c4"))
    frame.write_parquet(good.with_name("d.parquet"))
    (good.parent / "e.txt").write_text("not ours")
    ended = typed(shop, "run", "--yes")
    assert ended.code == 1
    assert "b.csv, row 1 (line 2)" in ended.words
    assert "3 files: All 3 rows updated." in ended.words
    assert sorted(entry["id"] for entry in vendor.get("log")) == ["c1", "c3", "c4"]
    assert [Path(each["input"]["file"]).name for each in summaries(shop)] == [
        "a.csv",
        "c.csv",
        "d.parquet",
    ]


def test_files_are_meant_by_path_folder_and_glob_and_taken_once(shop, vendor):
    for number, name in enumerate(("a-1.csv", "a-2.csv", "b-1.csv"), start=1):
        drop(shop, coupon(number), name=name)
    folder = "inputs/xsolla.coupon"
    ended = typed(shop, "run", "--yes", f"{folder}/a-*.csv", f"{folder}/a-1.csv")
    assert ended.code == 0
    assert sorted(entry["id"] for entry in vendor.get("log")) == ["c1", "c2"]
    assert "2 files: All 2 rows updated." in ended.words
    drop(shop, coupon(2) + ",x", name="a-2.csv")
    one = typed(shop, "run", "--yes", f"{folder}/a-2.csv", f"{folder}/b-1.csv")
    assert one.code == 1
    assert "b-1.csv: 1 of 1 row updated." in one.words
    assert "1 file:" not in one.words
    none = typed(shop, "run", "--yes", f"{folder}/x*.csv")
    assert none.code == 2
    assert f"{folder}/x*.csv: no file matches" in none.words


# Trying before sending...


def test_check_sends_nothing_leaves_nothing_and_shows_what_would_go_out(shop, vendor):
    drop(shop, coupon(1), invalid(2), coupon(3), coupon(4))
    ended = pipeline(shop, "check", "--show", "2")
    assert ended.code == 1
    assert "row 2 (line 3), column date_start" in ended.out
    assert "row 1 -> xsolla.coupon: " in ended.out
    assert "row 3 -> xsolla.coupon: " in ended.out
    assert "row 4 -> " not in ended.out
    assert f"curl -X PUT {vendor.base_url}/v2/project/44056/admin/coupon/c1" in ended.out
    assert '-u "$USER_NAME:$SECRET"' in ended.out
    assert "simulator-key" not in ended.out
    assert vendor.stats()["requests"] == 0
    assert runs_of(shop) == []
    assert not list(shop.glob("reports/*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--yes", "--max-invalid", "nan"), "max_invalid is a share of the rows"),
        (("watch", "--max-invalid", "nan"), "max_invalid is a share of the rows"),
        (("run", "--yes", "--strict", "--max-invalid", "5"), "exclude each other"),
        (("run", "--yes", "inputs/xsolla.coupon", "--run-id", ""), "the run id is empty"),
    ],
)
def test_an_option_that_would_switch_off_a_check_is_refused(shop: Path, arguments, words):
    drop(shop, coupon(1))
    told = typed(shop, *arguments)
    assert told.code == 2
    assert words in told.words
    assert runs_of(shop) == []


def test_check_says_what_a_run_would_say_of_the_files_of_an_account(shop: Path):
    configuration = shop / "pipeline.toml"
    configuration.write_text(f"{configuration.read_text()}\nca_file = 'ca.pem'\n")
    (shop / "ca.pem").write_text("no PEM")
    drop(shop, coupon(1))
    for command in (("check",), ("run", "--yes", "inputs/xsolla.coupon")):
        told = typed(shop, *command)
        assert told.code == 2
        assert "ca.pem: [accounts.shop] ca_file cannot be used" in told.words
        assert "Would send" not in told.out
    assert runs_of(shop) == []


def test_check_of_several_files_goes_on_after_a_broken_one(shop: Path, vendor: Simulator):
    drop(shop, coupon(1) + ",x", name="a.csv")
    drop(shop, coupon(2), name="b.csv")
    ended = typed(shop, "check")
    assert ended.code == 2
    assert "a.csv, row 1 (line 2)" in ended.words
    assert "b.csv" in ended.out
