"""plan, verify and undo as a person types them."""

from __future__ import annotations

import json
import urllib.request
from base64 import b64encode

import polars as pl
import pytest

from pipeline.store.checksums import KEY
from tests.cli.command import typed
from tests.workplace import configure, simulator

MORE = '[input."xsolla.coupon"]\nmissing = "keep"'
CHANGED = {"name": {"en-US": "Theirs"}, "redeem_user_limit": 77}


@pytest.fixture(scope="module")
def vendor():
    with simulator() as running:
        yield running


@pytest.fixture
def folder(vendor, tmp_path, request):
    configure(tmp_path, vendor.base_url, more=MORE)
    lines = [f"{request.node.name[5:30]}{n},{5 if n <= 3 else 10}" for n in range(1, 11)]
    text = "\n".join(["external_id,redeem_user_limit", *lines])
    (tmp_path / "a.csv").write_text(f"{text}\n")
    return tmp_path


def somebody_changes(vendor, external_id: str) -> None:
    url = f"{vendor.base_url}/v2/project/44056/admin/coupon/{external_id}"
    request = urllib.request.Request(url, json.dumps(CHANGED).encode(), method="PUT")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Basic {b64encode(b'44056:simulator-key').decode()}")
    urllib.request.urlopen(request).close()


def first_id(folder) -> str:
    return (folder / "a.csv").read_text().splitlines()[1].partition(",")[0]


def test_a_campaign_from_plan_to_undo(folder, vendor):
    planned = typed(folder, "plan", "--operation", "xsolla.coupon", "a.csv", "-o", "a.parquet")
    assert planned.code == 0, planned
    assert "10 rows, 3 would be sent" in planned.words
    assert "redeem_user_limit" in planned.words
    assert "10 -> 5" in planned.words
    assert "pipeline run a.parquet" in planned.words
    assert len(planned.err.splitlines()) <= 24, "it does not fit a screen"
    assert max(map(len, planned.err.splitlines())) <= 80

    unasked = typed(folder, "run", "a.parquet")
    assert unasked.code == 2
    assert "a question needs a terminal" in unasked.words
    sent = typed(folder, "run", "--yes", "a.parquet")
    assert sent.code == 0, sent
    assert typed(folder, "verify", "latest").code == 0

    left_alone = typed(folder, "undo", "latest", "--plan-only")
    assert left_alone.code == 0
    unasked = typed(folder, "undo", "latest")
    assert unasked.code == 2
    assert "3 would be sent" in unasked.words
    undone = typed(folder, "undo", "latest", "--yes")
    assert undone.code == 0, undone
    assert "All 3 rows updated" in undone.words


def test_drift_is_told_and_is_exit_code_1(folder, vendor):
    assert typed(folder, "run", "--yes", "--operation", "xsolla.coupon", "a.csv").code == 0
    somebody_changes(vendor, first_id(folder))
    found = typed(folder, "verify", "latest")
    assert found.code == 1
    assert "1 drifted" in found.words
    assert "redeem_user_limit: sent 5, found 77" in found.words
    (path,) = (folder / "reports" / "latest").glob("*-drift-*.csv")
    assert pl.read_csv(path)["row"].unique().to_list() == [1]
    undone = typed(folder, "undo", "latest", "--yes")
    assert undone.code == 1
    assert "1 conflict" in undone.words


def test_a_plan_with_rows_that_it_does_not_send_is_exit_code_1_as_its_run(folder):
    with (folder / "a.csv").open("a") as file:
        file.write("bad,many\n")
    planned = typed(folder, "plan", "--operation", "xsolla.coupon", "a.csv", "-o", "a.parquet")
    assert planned.code == 1
    assert "11 rows, 3 would be sent" in planned.words
    assert typed(folder, "run", "--yes", "a.parquet").code == 1


def test_a_condition_that_is_none_is_told_before_anything_is_read(folder):
    wrong = typed(folder, "run", "--yes", "--stop-if", "eros > 2%", "a.csv")
    assert wrong.code == 2
    assert "errors > 2%" in wrong.words


def test_what_could_not_be_taken_back_is_said_before_the_run(folder):
    whole = (
        "external_id,name.en-US,bonus,date_start,date_end,redeem_total_limit,"
        "redeem_user_limit,redeem_code_limit,attribute_conditions\n"
        "never,A,null,null,null,1,1,1,omit\n"
    )
    (folder / "pipeline.toml").write_text(
        (folder / "pipeline.toml").read_text().replace('"keep"', '"refuse"')
    )
    (folder / "whole.csv").write_text(whole)
    asked = ["--yes", "--operation", "xsolla.coupon", "whole.csv"]
    blind = typed(folder, "run", *asked)
    assert "add --record-previous to allow undo" in blind.words
    refused = typed(folder, "undo", "latest", "--yes")
    assert refused.code == 1
    assert "0 would be sent" in refused.words
    assert (
        "add --record-previous to allow undo"
        not in typed(folder, "run", "--record-previous", *asked).words
    )


def test_without_a_terminal_a_canary_stops_unless_yes_was_said(folder):
    tried = typed(folder, "run", "--yes", "--canary", "2", "--operation", "xsolla.coupon", "a.csv")
    assert tried.code == 0, tried
    assert "Canary: 2 of 10 rows sent" in tried.words


def test_an_undo_says_what_a_resume_would_still_send(folder):
    rows = [f"half_sent{n},5" for n in range(10)]
    (folder / "half.csv").write_text("\n".join(["external_id,redeem_user_limit", *rows, ""]))
    stopped = typed(folder, "run", "--yes", "--record-previous", "--operation", "xsolla.coupon",
                    "--canary", "2", "--stop-if", "updated > 1", "half.csv")  # fmt: skip
    assert stopped.code == 3, stopped
    undone = typed(folder, "undo", "latest", "--plan-only")
    assert "not sent 8 rows of the run; `pipeline resume" in undone.words


@pytest.mark.parametrize("command", ["verify", "undo"])
def test_a_run_that_there_is_not_is_told(folder, command):
    for name in ("nothing", "latest"):
        told = typed(folder, command, name)
        assert told.code == 2
        assert "there is no run" in told.words


def test_a_plan_that_was_tampered_with_is_told(folder):
    assert (
        typed(folder, "plan", "--operation", "xsolla.coupon", "a.csv", "-o", "a.parquet").code == 0
    )
    frame = pl.read_parquet(folder / "a.parquet")
    metadata = {
        name: text
        for name, text in pl.read_parquet_metadata(folder / "a.parquet").items()
        if not name.startswith("ARROW")
    }
    frame.write_parquet(folder / "c.parquet", metadata=metadata)
    told = typed(folder, "run", "--yes", "c.parquet")
    assert told.code == 2
    assert "c.parquet is damaged: its checksums are missing" in told.words
    assert "Nothing was sent; make the plan again" in told.words
    del metadata[KEY]  # as an earlier version wrote it
    frame.with_columns(job=pl.lit("{")).write_parquet(folder / "b.parquet", metadata=metadata)
    told = typed(folder, "run", "--yes", "b.parquet")
    assert told.code == 2
    assert "row 1" in told.words
