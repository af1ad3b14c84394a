"""One simulator for all commands under test, started anew in its memory for each."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workplace import Simulator, configure, simulator

RULES = """
[[rule]]
path = "/coupon/html$"
replies = ["html-200"]

[[rule]]
path = "/coupon/endless$"
replies = ["endless-body"]

[[rule]]
path = "/coupon/redirected$"
replies = ["redirect"]

[[rule]]
path = "/coupon/later$"
replies = ["429-seconds"]
retry_after_s = 3600
"""


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    script = tmp_path_factory.mktemp("simulator") / "script.toml"
    script.write_text(RULES)
    with simulator("--script", str(script)) as started:
        yield started


@pytest.fixture
def vendor(running: Simulator) -> Simulator:
    """With an empty log."""
    request = urllib.request.Request(f"{running.url}/_simulator/reset", method="POST")
    with urllib.request.urlopen(request):
        return running


@pytest.fixture
def shop(tmp_path: Path, vendor: Simulator) -> Path:
    """A working folder whose account is at the simulator."""
    configure(tmp_path, vendor.base_url, more="attempts = 2\ntimeout_s = 20")
    return tmp_path
