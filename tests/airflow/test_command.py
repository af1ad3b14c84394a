"""What an exit code means for a task, and what tasks may rely on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.airflow.command import decide, log_line, recorded_run, run_arguments


@pytest.mark.parametrize(
    ("exit_code", "fail_on_failed_rows", "decision"),
    [
        (0, True, "succeed"),  # no row is left to do
        (1, True, "fail"),  # the same again would end the same
        (1, False, "succeed"),  # somebody reads the error file
        (2, True, "fail"),  # the file or the configuration is wrong
        (2, False, "fail"),  # nothing was sent: no row failed
        (3, False, "fail"),  # the cause has to go first
        (4, True, "retry"),  # another process has the account
        (130, True, "retry"),  # stopped: the next try resumes
        (143, False, "retry"),
        (-9, True, "retry"),  # killed
        (None, True, "retry"),  # killed where nobody saw it
        (77, True, "retry"),  # none of ours: perhaps the interpreter could not start
    ],
)
def test_the_end_of_a_run_decides_about_the_task(exit_code, fail_on_failed_rows, decision):
    assert decide(exit_code, fail_on_failed_rows=fail_on_failed_rows)[0] == decision


def test_a_file_is_no_option():
    assert run_arguments("--yes.csv", "7")[-2:] == ["--", "--yes.csv"]


@pytest.mark.parametrize(
    ("state", "is_under_way", "is_ended"),
    [
        ("under_way", True, False),
        ("unfinished", False, False),  # it can be resumed
        ("refused", False, True),
        ("finished", False, True),
    ],
)
def test_a_run_is_under_way_ended_or_neither(state, is_under_way, is_ended):
    run = recorded_run({"run": "a", "source": "a.csv", "state": state})
    assert (run.is_under_way, run.is_ended) == (is_under_way, is_ended)


@pytest.mark.parametrize("text", ["", "null", "7", "[]", '{"event": "x"}', '{"a":', "Traceback"])
def test_a_line_that_is_no_event_is_shown_as_it_is(text):
    assert log_line(text) == (20, "", text)


def test_airflow_needs_none_of_the_libraries_of_the_pipeline():
    code = (
        "import sys, pipeline.airflow.command, pipeline.airflow.process;"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in {"['__main__', 'pipeline']", "['pipeline']"}
