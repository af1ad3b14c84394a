"""The figures in the documentation are those that were measured, as the script writes them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks import figures

ROOT = Path(__file__).parent.parent


def test_the_page_and_the_readme_show_what_was_measured() -> None:
    made = json.loads(figures.KEPT.read_text())
    page, readme = figures.PAGE.read_text(), figures.README.read_text()
    assert figures.with_figures(page, readme, made) == (page, readme), "make bench-docs"


def test_a_table_shows_medians_spreads_and_what_did_not_arrive() -> None:
    def entry(name: str, *rates: float, arrived: int = 100) -> dict[str, object]:
        runs = [
            {"rows_per_s": rate, "cpu_us": 50.0, "peak_mb": 40.0, "arrived": arrived}
            for rate in rates
        ]
        about = {"name": name, "says": "", "version": "", "kind": "whole"}
        return {**about, "scheme": "http", "rows": 100, "in_flight": 4, "runs": runs}

    lines = figures.speed_table(
        {
            "rounds": 3,
            "entries": [
                entry(figures.BARE, 1_000, 2_000, 4_000),
                entry("other", 2_000, 2_000, 2_000, arrived=96),
            ],
        }
    )
    assert "100 rows over http, 4 in flight" in lines[0]
    assert "| bare aiohttp loop | 2,000 (1,000 to 4,000) | 1.00 (1.00 to 1.00) |" in lines[-2]
    assert "| other (96 requests) | 2,000 (2,000 to 2,000) | 1.00 (0.50 to 2.00) |" in lines[-1]
