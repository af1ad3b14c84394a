"""The pipeline as sides of the benchmarks, each a process of its own.

    python -m tests.benchmarks.sides pipeline FILE URL IN_FLIGHT FOLDER
    python -m tests.benchmarks.sides memory FILE URL IN_FLIGHT FOLDER
    python -m tests.benchmarks.sides checksums FILE URL IN_FLIGHT FOLDER

`memory` is the pipeline with a ledger that forgets; `checksums` is the pipeline, and tells what
part of its CPU time goes into checksums.

Each prints one line of JSON. `encoded_requests` gives the others the very bytes that the pipeline
sends.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Self

from pipeline.config import load_config
from pipeline.jobs import read_jobs
from pipeline.run import Prepared, RunEnvironment, carry_out, prepare, report_facts
from pipeline.run.event_loop import run_async
from pipeline.runs import RunOptions, run_folder
from pipeline.sign_in.auth import authorization
from pipeline.store import MemoryLedger, parquet, result_lines
from pipeline.store.checksums import Checksums
from pipeline.store.commit_mark import CommitMark
from pipeline.store.on_files import FileStore
from pipeline.vendors import load_vendors

CONFIG = """
inputs = "inputs"
reports = "reports"
[accounts.shop]
vendor = "xsolla"
base_url = "{url}"
project_id = 44056
api_key = "env:KEY"
quota = "1000000/s"
in_flight = {in_flight}
"""
ENVIRON = {"KEY": "benchmark"}


@contextmanager
def measured(into: dict[str, Any], name: str) -> Iterator[None]:
    """Wall and CPU seconds of the block."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    into[f"{name}_s"] = time.perf_counter() - wall
    into[f"{name}_cpu_s"] = time.process_time() - cpu


def prepared_run(file: Path, url: str, in_flight: int, folder: Path) -> Prepared:
    """The run of a file, by the configuration in `folder`, or one to `url` that is made there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "pipeline.toml").exists():
        (folder / "pipeline.toml").write_text(CONFIG.format(url=url, in_flight=in_flight))
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)
    return prepare(file, config, RunOptions(operation="xsolla.coupon"))


def pipeline_side(file: Path, url: str, in_flight: int, folder: Path) -> dict[str, Any]:
    """The whole pipeline, its parts stated apart."""
    found: dict[str, Any] = {}
    with measured(found, "take_and_bind"):
        prepared = prepared_run(file, url, in_flight, folder)
    cpu = time.process_time()
    with measured(found, "send_and_report"):
        summary = run_async(_carry_out, prepared, found)
    assert summary.statuses["updated"] == prepared.snapshot.rows, summary.why
    sending = summary.accounts["shop"].sending_s
    found["send_s"] = sending
    found["report_s"] = found["send_and_report_s"] - sending
    found["send_cpu_s"] = found.pop("after_sending_cpu_s") - cpu
    found["report_cpu_s"] = found["send_and_report_cpu_s"] - found["send_cpu_s"]
    found["rows"] = prepared.snapshot.rows
    return found


class ForgetfulLedger(MemoryLedger):
    """In the place of the run's own file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def memory_side(file: Path, url: str, in_flight: int, folder: Path) -> dict[str, Any]:
    """The pipeline with its ledger in memory."""
    FileStore.ledger = lambda *_what, **_more: ForgetfulLedger()  # type: ignore[method-assign]
    return pipeline_side(file, url, in_flight, folder)


CHECKSUMS: tuple[tuple[Any, str], ...] = (
    (parquet, "add_checksums"),
    (parquet, "read_checksums"),
    (Checksums, "check"),
    (run_folder, "check_whole"),
    (report_facts, "check_whole"),
    (run_folder, "_check"),
    (result_lines, "_checksum"),
    (CommitMark, "note"),
)
"""All that computes, compares or notes them, as it is looked up where it is called."""


def checksums_side(file: Path, url: str, in_flight: int, folder: Path) -> dict[str, Any]:
    """The pipeline; what it takes to measure that counts as part of the checksums."""
    spent: Counter[str] = Counter()

    def timed(name: str, function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                spent[name] += time.thread_time() - began  # type: ignore[assignment]

        return call

    for owner, name in CHECKSUMS:
        setattr(owner, name, timed(name, getattr(owner, name)))
    cpu = time.process_time()
    found = pipeline_side(file, url, in_flight, folder)
    found["run_cpu_s"] = time.process_time() - cpu
    found["checksums_cpu_s"] = sum(spent.values())
    return found


async def _carry_out(prepared: Prepared, found: dict[str, Any]) -> Any:
    @contextmanager
    def watch(_progress: object) -> Iterator[None]:
        yield
        found["after_sending_cpu_s"] = time.process_time()

    return await carry_out(prepared, RunEnvironment(watch=watch, environ=ENVIRON))


def encoded_requests(
    file: Path, url: str, in_flight: int, folder: Path
) -> tuple[dict[str, str], Iterator[tuple[str, bytes]]]:
    """The headers, and path and body of each request that the pipeline would send, in its order."""
    prepared = prepared_run(file, url, in_flight, folder)
    account = prepared.config.account("shop", ENVIRON)
    headers = {"Authorization": authorization(account.vendor.authenticate(account.settings)) or ""}

    def requests() -> Iterator[tuple[str, bytes]]:
        for batch in read_jobs(prepared.bound.jobs["shop"].path):
            for job in batch:
                operation = account.operation(job.operation)
                typed = operation.job_type.trusted(job.text)
                request = operation.encode(account.settings, (typed,))
                headers.update(request.headers)
                yield request.path, request.body

    every = requests()
    first = next(every)  # brings the headers
    return headers, chain([first], every)


def main() -> None:
    """One side, as the arguments say."""
    side, file, url, in_flight, folder = sys.argv[1:]
    run = {
        "pipeline": pipeline_side,
        "memory": memory_side,
        "checksums": checksums_side,
    }[side]
    found = run(Path(file), url, int(in_flight), Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
