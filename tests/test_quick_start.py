"""What is started quickly is a process as one that is started anew."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import pytest

from tests import quick_start
from tests.cli.command import ended, environment, start, start_anew
from tests.quick_start import (
    CODE,
    COMMAND,
    DECODER,
    QuickPopen,
    _can_fork,
    end_processes,
    processes,
)
from tests.waiting import WITHIN_S, until
from tests.workplace import configure, coupon, drop


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
        assert process.wait(WITHIN_S) == code


def test_it_has_no_file_of_the_tests_but_its_streams(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        process = QuickPopen([*COMMAND, "simulator", "--port", "0"], stdout=subprocess.PIPE)
        process.stdout.readline()
        links = {str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()}
        process.kill()
        process.communicate()
    assert str(tmp_path / "open") not in links


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import sys; print(sys.argv, __name__, sys.path[0] == '')", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('in words')", 1),
        ("import atexit; atexit.register(print, 'at the end')", 0),
        ("1 / 0", 1),
    ],
)
def test_code_runs_as_the_interpreter_runs_it(tmp_path: Path, code: str, end: int) -> None:
    quick, anew = (
        begin([*CODE, code, "a", "b"], cwd=tmp_path, text=True, stdout=PIPE, stderr=PIPE)
        for begin in (QuickPopen, subprocess.Popen)
    )
    said, told = quick.communicate(timeout=WITHIN_S), anew.communicate(timeout=WITHIN_S)
    assert (quick.returncode, said[0]) == (anew.returncode, told[0])
    assert quick.returncode == end
    assert said[1].splitlines()[-1:] == told[1].splitlines()[-1:]  # a traceback's end


def test_a_decoder_reads_the_descriptor_that_it_is_given(tmp_path: Path) -> None:
    with (tmp_path / "a.parquet").open("w+b") as file:
        file.write(b"PAR1 and nothing else")
        file.flush()
        words = [*DECODER, str(file.fileno()), "a.parquet", "21"]
        quick, anew = (
            begin(words, stdout=PIPE, pass_fds=[file.fileno()])
            for begin in (QuickPopen, subprocess.Popen)
        )
        said, told = quick.communicate(timeout=90), anew.communicate(timeout=90)
    assert (quick.returncode, said) == (anew.returncode, told)
    assert b"a.parquet" in said[0]


def test_what_a_test_leaves_running_can_be_ended() -> None:
    before = len(processes)
    process = QuickPopen([*CODE, "print('begun', flush=True); input()"], stdin=PIPE, stdout=PIPE)
    assert process.stdout.readline()
    end_processes(before)
    assert process.returncode == -signal.SIGKILL
    assert process.stdin.closed
    assert process.stdout.closed
    assert len(processes) == before


def test_workers_are_forked_and_nothing_is_left_of_a_command_that_is_killed(tmp_path: Path) -> None:
    configure(tmp_path, "http://127.0.0.1:9", more="shares = 4\nconnect_timeout_s = 60")
    drop(tmp_path, *map(coupon, range(200)))
    file = "inputs/xsolla.coupon/coupons.csv"
    process = start(tmp_path, "run", "--yes", "--workers", "2", file, start_new_session=True)
    workers = until(lambda: [each for each in children(process.pid) if is_leader(each)])
    assert all(b"quick_start" in Path(f"/proc/{each}/cmdline").read_bytes() for each in workers)
    others = set(children(process.pid)) - set(workers)
    process.kill()
    process.communicate(timeout=WITHIN_S)  # nobody else has its streams
    until(lambda: not any(Path(f"/proc/{each}").exists() for each in others))
    for each in workers:
        with suppress(ProcessLookupError):  # it may end by itself
            os.kill(each, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_leader(pid: int) -> bool:
    return os.getsid(pid) == pid


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
        ({"args": [*CODE, "print()"]}, True),
        ({"args": ["pipeline.loader.decode_check"]}, False),
        ({"args": [*DECODER, "7", "a.parquet", "9"], "pass_fds": (7,)}, True),
        ({"pass_fds": (300,)}, False),
        ({"preexec_fn": os.getpid}, False),
    ],
)
def test_what_only_a_start_anew_can_do_is_started_anew(change: dict, can: bool) -> None:  # noqa: FBT001
    assert _can_fork(ASKED | change) == can


def test_all_starts_are_anew_if_a_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_START_ANEW", "1")
    assert not _can_fork(ASKED)


class TimeIsUpError(Exception):
    """What a limit of a test raises, wherever the test stands."""


def test_a_start_that_was_given_up_does_not_answer_the_next_one() -> None:
    def give_up(*_: object) -> None:
        raise TimeIsUpError

    server = quick_start._server()
    os.kill(server.pid, signal.SIGSTOP)
    before = signal.signal(signal.SIGUSR1, give_up)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(TimeIsUpError):
            QuickPopen([*CODE, "raise SystemExit(3)"])
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
        os.kill(server.pid, signal.SIGCONT)
    for code in (4, 5):
        assert QuickPopen([*CODE, f"raise SystemExit({code})"]).wait() == code
