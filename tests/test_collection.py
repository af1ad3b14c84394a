"""Each process that collects the tests finds the same names in the same order.

Two workers share the tests between them by name: a name that holds the time, a number by chance,
a temporary path or the order of a set makes every run with two workers fail.
"""

import os
import subprocess
import sys
import time
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import TOGETHER, WAITING_LONG, WAITING_UP_TO, spread

ROOT = Path(__file__).parent.parent
APART_S = 2.1  # more than the two seconds that are the coarsest step of a stored time (zip)
SHOWN = 5


def _collecting(seed: int, zone: str, folder: Path, listing: Path) -> subprocess.Popen[bytes]:
    """A process that writes every name of the suite to `listing`, one a line, and ends."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    own = {"PYTHONHASHSEED": str(seed), "TZ": zone, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    with listing.open("wb") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=inherited | own, stdout=output, stderr=subprocess.STDOUT
        )


def test_two_processes_collect_the_same_names(tmp_path: Path) -> None:
    collecting, listings = [], []
    for seed, zone in ((1, "UTC"), (2, "Pacific/Kiritimati")):  # a day apart for half of the day
        folder = tmp_path / str(seed)
        folder.mkdir()
        listings.append(folder / "names")
        collecting.append(_collecting(seed, zone, folder, listings[-1]))
        time.sleep(APART_S)
    ends = [process.wait() for process in collecting]
    texts = [path.read_text(errors="replace") for path in listings]
    assert ends == [0, 0], texts[0][-2000:]
    first, second = ([line for line in text.splitlines() if "::" in line] for text in texts)
    assert len(first) > 1000
    differing = [f"{one}\n{other}" for one, other in zip_longest(first, second) if one != other]
    assert not differing, f"{len(differing)} names differ:\n" + "\n".join(differing[:SHOWN])


@pytest.mark.parametrize(("waiting", "others"), [(0, 50), (10, 0), (40, 1000), (100, 30)])
@pytest.mark.parametrize("processes", [1, 8])
def test_no_process_has_a_long_wait_near_its_end(waiting: int, others: int, processes: int) -> None:
    names = [min(WAITING_LONG)] * waiting + ["test_a.py"] * others
    items = [SimpleNamespace(path=Path(name), number=n) for n, name in enumerate(names)]
    found = spread(items, processes)
    assert sorted(item.number for item in found) == list(range(waiting + others))
    size = len(found) / processes
    if others > waiting:
        ends = [n % size / size for n, each in enumerate(found) if each.path.name in WAITING_LONG]
        assert all(end <= WAITING_UP_TO + 1 / size for end in ends)


def test_one_process_takes_what_belongs_together() -> None:
    paths = [*[f"{min(TOGETHER)}/test_a.py"] * 20, *[min(WAITING_LONG)] * 300, *["test_b.py"] * 900]
    items = [SimpleNamespace(path=Path(each)) for each in paths]
    first = spread(items, 8)[: len(items) // 8]
    assert sum(each.path.parent.name in TOGETHER for each in first) == 20
