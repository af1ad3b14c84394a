"""Starts the command again and again, quickly: each life is forked off one warm process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace

from tests.torture.driver import ROOT, LiveOverrides
from tests.workplace import ENVIRON

LONGEST_LIFE_S = 600.0  # on a busy machine


class Driver:
    """A process that has imported the command, and forks a life of it for each of its orders."""

    def __init__(self, **more: str) -> None:
        environ = {name: value for name, value in os.environ.items() if "PIPELINE_" not in name}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.driver"],
            cwd=ROOT,
            env={**environ, **ENVIRON, "COLUMNS": "200", **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def obey(self, orders: LiveOverrides, kill_after_s: float | None = None) -> tuple[int, str]:
        """Exit code and output of one life; -9 if it was killed, by itself or by us.

        kill_after_s  None: it is killed only after LONGEST_LIFE_S, and the code is SIGALRM then
        """
        with tempfile.NamedTemporaryFile("r") as said:
            line = json.dumps(asdict(replace(orders, said=said.name))) + "\n"
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode())
            return self._ended(int(self._line()), kill_after_s), said.read()

    def _ended(self, life: int, kill_after_s: float | None) -> int:
        is_over, _, _ = select.select(
            [self._process.stdout], [], [], kill_after_s or LONGEST_LIFE_S
        )
        if not is_over:
            os.kill(
                life, signal.SIGKILL
            )  # nobody has waited for it yet: the number is still its own
        code = int(self._line())
        return code if is_over or kill_after_s else signal.SIGALRM

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
