"""The quick `pipeline` of a shell ends, is stopped and is killed as the installed one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.quick_command import quick_command
from tests.waiting import until

SIMULATOR = "pipeline simulator --port 0 > told &\n"


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "programs"
    found.mkdir()
    with quick_command(found):
        yield found


def shell(script: str, programs: Path) -> subprocess.Popen[str]:
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "-c", script],
        cwd=programs.parent,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("script", "told", "code"),
    [
        ("pipeline run nowhere.csv 2>&1", "nowhere.csv", 2),
        ("mkdir x; cd x; pipeline nope 2>/dev/null", "", 2),
        ("pipeline --help | grep -c Usage", "1", 0),
        ("PIPELINE_CONFIG=other.toml pipeline run x.csv 2>&1 | tr -d '\n│'", "other.toml", 0),
        (SIMULATOR + "until grep -q log: told; do sleep 0.02; done; kill $!; wait $!", "", 0),
    ],
    ids=["a fault", "in a folder", "in a pipe", "with a variable", "in the background"],
)
def test_it_does_what_the_installed_one_does(
    programs: Path, script: str, told: str, code: int
) -> None:
    process = shell(script, programs)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == code
    assert told in out


def test_it_ends_as_whoever_started_it_is_killed(programs: Path) -> None:
    process = shell(f"{SIMULATOR}wait", programs)
    told = programs.parent / "told"
    url = until(lambda: told.exists() and re.search(r"http://[\d.:]+(?=.*\n)", told.read_text()))
    with urllib.request.urlopen(f"{url[0]}/_simulator/stats"):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    until(lambda: not answers(url[0]))


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/_simulator/stats").close()
    except OSError:
        return False
    return True
