"""What the page of a run costs: seconds and memory beside the rest of the report.

    .venv/bin/python tests/benchmarks/page.py
    .venv/bin/python tests/benchmarks/page.py --rows 10000000

The run is made up: every status, two accounts, three hours of samples. Everything is timed in one
process, and `RssAnon` taken at its peak.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.reporter.aggregate import Aggregate  # noqa: E402
from pipeline.reporter.matching import match_results  # noqa: E402
from pipeline.reporter.reporter import write_report  # noqa: E402
from pipeline.reporter.summarise import summarise  # noqa: E402
from pipeline.reporter.summary import OutputSummary  # noqa: E402
from pipeline.reporter.tally import Tally  # noqa: E402
from pipeline.ui.html.write import publish_index, publish_page  # noqa: E402
from tests.benchmarks.memory import Sampler  # noqa: E402
from tests.ui.html.pages import source_of  # noqa: E402

MAX_S, MAX_MB, MAX_BYTES = 10.0, 300, 2_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    sampler = Sampler()
    sampler.start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = source_of(folder / "own", rows, seconds=10_800)
        tally, aggregate, in_pass_s = Tally(), Aggregate(source.snapshot), 0.0
        for frame, results in match_results(source):
            tally.add(results)
            started_s = time.perf_counter()
            wrong = results.filter(
                ~results["_status"].is_in(["updated", "unchanged", "superseded"])
            )
            aggregate.add(frame, results, tally.add_errors(wrong))
            in_pass_s += time.perf_counter() - started_s
        outputs = {
            name: OutputSummary(name=f"{name}.csv", rows=rows, bytes=0, sha256="0" * 64)
            for name in ("success", "errors")
        }
        started_s = time.perf_counter()
        report = folder / "reports" / "r"
        report.mkdir(parents=True)
        summary = publish_page(report, summarise(source, tally, outputs), source, tally, aggregate)
        publish_index(report.parent, "r")
        page_s = in_pass_s + time.perf_counter() - started_s
        started_s = time.perf_counter()
        write_report(source, folder / "reports" / "whole")
        whole_s = time.perf_counter() - started_s
    assert summary.page is not None
    peak_mb = max(sampler.peak_kb.values()) / 1000
    print(
        f"{rows:,} rows: the page took {page_s:.1f} s ({in_pass_s:.1f} s of it while the rows went "
        f"by) of {whole_s:.1f} s for the whole report; {peak_mb:.0f} MB at most; "
        f"{summary.page.bytes / 1000:,.0f} kB"
    )
    if page_s > MAX_S or peak_mb > MAX_MB or summary.page.bytes > MAX_BYTES:
        sys.exit(f"more than {MAX_S} s, {MAX_MB} MB or {MAX_BYTES:,} bytes")


if __name__ == "__main__":
    main()
