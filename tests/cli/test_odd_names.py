"""Names of files and folders, and arguments, whose bytes are not UTF-8."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.command import pipeline
from tests.workplace import configure, coupon, drop

LATIN_1 = "K\udcfcche"
"""The name `Küche` as an old system wrote it, in Latin-1."""


def test_a_file_whose_name_is_not_utf_8_is_refused_and_the_others_are_sent(tmp_path):
    configure(tmp_path, "http://127.0.0.1:9/api")
    drop(tmp_path, coupon(1))
    (good,) = tmp_path.glob("inputs/xsolla.coupon/*.csv")
    shutil.copy(good, good.with_name(f"{LATIN_1}.csv"))
    ended = pipeline(tmp_path, "run", "--simulate", "--yes", "inputs/xsolla.coupon")
    assert ended.code == 1
    assert r"K\xfcche.csv: its name is not UTF-8. Rename it" in ended.words
    (summary,) = tmp_path.glob("reports/2*/summary.json")
    assert json.loads(summary.read_text())["statuses"]["updated"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("check", f"{LATIN_1}.csv"), id="a file"),
        pytest.param(("runs", LATIN_1), id="a run"),
        pytest.param(("runs", "--entity", f"xsolla.coupon:{LATIN_1}"), id="an entity"),
        pytest.param(
            ("run", "--simulate", "--yes", "--run-id", LATIN_1, "inputs"), id="a key on record"
        ),
    ],
)
def test_an_argument_that_is_not_utf_8_is_named(tmp_path, arguments):
    configure(tmp_path, "http://127.0.0.1:9/api")
    drop(tmp_path, coupon(1))
    ended = pipeline(tmp_path, *arguments)
    assert ended.code == 2
    assert r"K\xfcche" in ended.words
    assert "is not UTF-8" in ended.words


@pytest.mark.parametrize("command", [("run", "--simulate", "--yes"), ("doctor",), ("runs",)])
def test_a_working_folder_whose_path_is_not_utf_8_is_refused(tmp_path, command):
    folder = tmp_path / LATIN_1
    os.mkdir(folder)  # noqa: PTH102 - as a shell does
    Path(folder, "pipeline.toml").touch()
    ended = pipeline(folder, *command)
    assert ended.code == 2
    said = ended.out + ended.words
    assert "ledger: its path is not UTF-8" in said
    assert "Rename the folder" in said
    assert not Path(folder, ".pipeline").exists()
