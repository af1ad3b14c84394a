"""What is started quickly is a process as one that is started anew."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import ended, environment, start, start_anew
from tests.quick_start import COMMAND, QuickPopen, _can_fork


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("operations",), ("operations", "xsolla.coupon"), ("nope",), ("run", "--yes")],
    ids=" ".join,
)
def test_it_says_and_returns_the_same(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    quick = ended(start(tmp_path, *arguments))
    assert quick == ended(start_anew(tmp_path, *arguments))
    assert quick.out + quick.err


def test_it_has_its_own_folder_environment_and_arguments(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("accounts = 7\n")
    done = ended(start(tmp_path, "run", "x.csv", env=environment(PIPELINE_CONFIG="other.toml")))
    assert done.code == 2
    assert "other.toml" in done.words


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0), (signal.SIGINT, 0)]
)
def test_it_is_a_child_that_signals_reach(number: signal.Signals, code: int) -> None:
    with QuickPopen([*COMMAND, "simulator", "--port", "0"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"\nPPid:\t{os.getpid()}\n" in status
        assert b"quick_start" in Path(f"/proc/{process.pid}/cmdline").read_bytes()  # forked
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(30) == code


def test_it_has_no_file_of_the_tests_but_its_streams(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        process = QuickPopen([*COMMAND, "simulator", "--port", "0"], stdout=subprocess.PIPE)
        process.stdout.readline()
        links = {str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()}
        process.kill()
        process.communicate()
    assert str(tmp_path / "open") not in links


ASKED = {
    "args": [*COMMAND, "run"],
    "env": None,
    **dict.fromkeys(("preexec_fn", "pass_fds", "shell", "executable")),
}


@pytest.mark.parametrize(
    ("change", "can"),
    [
        ({}, True),
        ({"env": {**os.environ, "COLUMNS": "40"}}, True),  # read when it is needed
        ({"env": {**os.environ, "TZ": "Asia/Tokyo"}}, False),  # read at the start
        ({"env": {**os.environ, "PYTHONWARNINGS": "error"}}, False),
        ({"args": ["pipeline", "run"]}, False),  # the script, not the module
        ({"args": [*COMMAND[:2], "tests"]}, False),
        ({"pass_fds": (7,)}, False),
        ({"preexec_fn": os.getpid}, False),
    ],
)
def test_what_only_a_start_anew_can_do_is_started_anew(change: dict, can: bool) -> None:  # noqa: FBT001
    assert _can_fork(ASKED | change) == can


def test_all_starts_are_anew_if_a_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_START_ANEW", "1")
    assert not _can_fork(ASKED)
