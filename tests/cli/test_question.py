"""At a terminal a person sees what would be sent, and is asked."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from tests.cli.command import start
from tests.workplace import coupon, drop


def at_a_terminal(folder: Path, answer: bytes, *arguments: str) -> tuple[int, str]:
    """Exit code of a command at a terminal that answers its question, and all it showed."""
    ours, theirs = pty.openpty()
    shown = b""
    try:
        with start(
            folder,
            *arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            try:
                while True:  # the test's own time limit ends one that hangs
                    shown += os.read(ours, 65_536)
                    if answer and b"[y/N]" in shown:
                        os.write(ours, answer)
                        answer = b""
            except OSError:  # the command has gone
                return process.wait(), shown.decode()
            finally:
                process.kill()
    finally:
        os.close(ours)


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04"])
def test_a_no_sends_nothing_and_leaves_nothing(shop, vendor, answer):
    drop(shop, coupon(1))
    code, shown = at_a_terminal(shop, answer, "run")
    assert code == 2
    assert "project 44056" in shown
    assert "nothing was sent" in shown
    assert "Traceback" not in shown
    assert vendor.stats()["requests"] == 0
    assert list((shop / ".pipeline" / "runs").iterdir()) == []


def test_a_yes_sends(shop, vendor):
    drop(shop, coupon(1))
    code, shown = at_a_terminal(shop, b"y\n", "run")
    assert code == 0
    assert "1 row of xsolla.coupon" in shown
    assert "1 of 1 row updated" in shown
    assert vendor.stats()["requests"] == 1


def test_yes_beforehand_is_not_asked(shop, vendor):
    drop(shop, coupon(1))
    code, shown = at_a_terminal(shop, b"", "run", "--yes")
    assert code == 0
    assert "[y/N]" not in shown
