"""What the command says of itself, and of a command that is none."""

from __future__ import annotations

import csv

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config import load_config
from pipeline.vendors import load_vendors
from tests.cli.command import pipeline, typed

OPERATIONS = [op.name for vendor in load_vendors().values() for op in vendor.operations]


def in_process(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "80"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("command", [(), *((name,) for name in main.commands)])
def test_help_fits_a_screen(command):
    lines = in_process(*command, "--help").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith("...") for line in lines[1:])


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_told_in_80_columns(name):
    text = in_process("operations", name)
    assert max(map(len, text.splitlines())) <= 80
    assert f"pipeline operations {name} --template csv" in " ".join(text.split())


def test_operations_are_listed():
    for name in OPERATIONS:
        assert name in in_process("operations")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Commands:"),
        (("runn",), "Did you mean one of: 'run', 'runs'?"),
        (("run", "--lmit", "3"), "'--limit'"),
        (("operations", "xsolla.cupon"), "did you mean xsolla.coupon?"),
        (("operations", "zzz"), f"known: {', '.join(OPERATIONS)}"),
        (("operations", "--template", "csv"), "needs an operation"),
        (("run", "--rows", "9-2"), "write 2-9"),
        (("run", "--rows", "x"), "17,40-60"),
        (("run", "--limit", "2", "--rows", "1"), "--limit and --rows"),
        (("run", "--strict-ids"), "--simulate"),
        (("run", "--max-invalid", "120"), "0<=x<=100"),
        (("--config", "no.toml", "run"), "no.toml"),
        (("simulator", "--fault", "500=often"), "503=0.01"),
        (("simulator", "--fault", "50=0.1"), "did you mean"),
        (("simulator", "--quota", "20"), "20/s"),
        (("simulator", "--script", "no.toml"), "no.toml"),
        (("simulator", "--port", "99999"), "port"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_the_command(tmp_path):
    assert pipeline(tmp_path, "--version").out.startswith("pipeline, version ")
    wrong = pipeline(tmp_path, "chekc")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'check'" in wrong.err


@pytest.mark.parametrize("name", OPERATIONS)
def test_templates_are_files_to_start_from(tmp_path, name):
    (tmp_path / "pipeline.toml").write_text(in_process("operations", name, "--template", "toml"))
    (tmp_path / "start.csv").write_text(in_process("operations", name, "--template", "csv"))
    config = load_config(None, environ={}, vendors=load_vendors(), cwd=tmp_path)
    assert list(config.accounts) == [name.partition(".")[0]]
    checked = typed(tmp_path, "check", "start.csv", "--operation", name, "--show", "1")
    assert checked.code == 0, checked
    assert "row 1 -> " in checked.out
    assert "curl -X P" in checked.out
    assert "warning" not in checked.out
    with (tmp_path / "start.csv").open(newline="") as lines:
        assert len(list(csv.reader(lines))) == 2


def test_init_makes_a_folder_and_changes_nothing_that_exists(tmp_path):
    assert typed(tmp_path, "init", "work").code == 0
    folder = tmp_path / "work"
    file = folder / "pipeline.toml"
    written = file.read_text()
    assert {path.name for path in (folder / "inputs").iterdir()} == set(OPERATIONS)
    config = load_config(None, environ={}, vendors=load_vendors(), cwd=folder)
    assert set(config.accounts) == set(load_vendors())
    file.write_text(written + "# mine\n")
    again = typed(tmp_path, "init", "work")
    assert again.code == 0
    assert "exists and was not changed" in again.out
    assert file.read_text() == written + "# mine\n"
