"""A run whose ledger and reports lie on a disk that fills up amid it, and one on a disk that may
only be read. Prints what came of it, as JSON.

    unshare --user --map-root-user --mount python -m tests.promises.small_disk FOLDER BASE_URL URL

It mounts a small file system, which nobody else sees and which is gone with the process.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.cli.command import Ended, ended, start, typed
from tests.workplace import CONFIG, Simulator, coupon, drop

ROWS = 400  # it takes a while to fill the disk, and to look
SIZE = "72m"  # what a run asks for beforehand, and a little
KEYS = 'ledger = "disk/pipeline/ledger.db"\nreports = "disk/reports"\n'


def mounted(disk: Path, options: str) -> None:
    """Mount it, or change how."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], check=True)


def filled(disk: Path) -> Path:
    """What takes all the room that is left."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return ballast


def told(done: Ended) -> dict[str, Any]:
    """How a command ended and what it said."""
    return {"code": done.code, "out": done.out, "words": done.words}


def rows_in(path: Path, status: str) -> list[int]:
    """The rows of a result file that ended so."""
    with path.open(newline="") as file:
        return [int(row["_row"]) for row in csv.DictReader(file) if row["_status"] == status]


def on_record(folder: Path) -> dict[str, Any]:
    """The only run, as `runs --json` has it, with its summary."""
    (run,) = [json.loads(line) for line in typed(folder, "runs", "--json").out.splitlines()]
    done = typed(folder, "runs", run["run"], "--json")
    return dict(json.loads(done.out)) if done.code == 0 else {**run, **told(done)}


def main(folder: Path, vendor: Simulator) -> dict[str, Any]:
    """Fill the disk amid a run; look; make room; carry it on; then let nothing be written."""
    disk = folder / "disk"
    disk.mkdir()
    mounted(disk, f"size={SIZE}")
    config = CONFIG.format(base_url=vendor.base_url, quota='"100/s"', in_flight=4, more="")
    (folder / "pipeline.toml").write_text(KEYS + config)
    file = drop(folder, *map(coupon, range(1, ROWS + 1)))
    process = start(folder, "run", "--yes", str(file))
    while vendor.stats()["requests"] < 30:
        time.sleep(0.02)
    ballast = filled(disk)
    found: dict[str, Any] = {"full": told(ended(process))}
    found["sent"] = vendor.stats()["requests"]
    found["looked_at"] = told(typed(folder, "runs"))
    ballast.unlink()
    found["room"] = on_record(folder)
    report = Path(found["room"]["report"])
    found["in_doubt"] = rows_in(report / "errors.csv", "unknown")
    found["resumed"] = told(typed(folder, "resume", "--yes", found["room"]["run"]))
    found["end"] = on_record(folder)
    found["reported"] = rows_in(report / "success.csv", "updated")
    mounted(disk, "remount,ro")
    more = drop(folder, coupon(ROWS + 1), name="more.csv")
    found["sent_before"] = vendor.stats()["requests"]
    found["read_only"] = {
        "run": told(typed(folder, "run", "--yes", str(more))),
        "runs": told(typed(folder, "runs")),
    }
    found["requests"] = vendor.stats()["requests"]
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Simulator(*sys.argv[2:]))))
