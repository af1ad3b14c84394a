"""The command as a user types it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from pipeline.cli import main
from tests.quick_start import COMMAND, QuickPopen, processes
from tests.waiting import WITHIN_S
from tests.workplace import ENVIRON

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it said of errors, however it was folded to the terminal's width."""
        return " ".join(self.err.replace("│", " ").split())


def environment(**more: str) -> dict[str, str]:
    """Of a terminal of 80 columns, with the shop's key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    return {**kept, **ENVIRON, "COLUMNS": "80", **more}


def start(folder: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """`pipeline ...` in `folder`, running."""
    return QuickPopen([*COMMAND, *arguments], **_how(folder, more))


def start_anew(folder: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """The same as a user starts it: with all that comes before its first line."""
    processes.append(subprocess.Popen([*COMMAND, *arguments], **_how(folder, more)))
    return processes[-1]


def _how(folder: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    streams = {"stdin": subprocess.DEVNULL, **PIPES}
    return {"cwd": folder, "text": True, "env": environment(), **streams, **more}


def ended(process: subprocess.Popen[str], timeout_s: float = WITHIN_S) -> Ended:
    """Waits for it. Whatever a user does wrong, no traceback is the answer."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in out + err, out + err
    return Ended(process.returncode, out, err)


def pipeline(folder: Path, *arguments: str, **env: str) -> Ended:
    """`pipeline ...` in `folder`, to its end."""
    return ended(start(folder, *arguments, env=environment(**env)))


def typed(folder: Path, *arguments: str, **env: str) -> Ended:
    """The same in this process, which saves its start; there is no terminal either."""
    with chdir(folder):
        done = CliRunner().invoke(main, arguments, env=environment(**env), catch_exceptions=False)
    return Ended(done.exit_code, done.stdout, done.stderr)
