"""The picture of docs/architecture.md; `make architecture` writes it to docs/pictures/."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"

WIDTH, HEIGHT = 940, 576
BOX_HEIGHT = 56


class Box(NamedTuple):
    """A folder of `pipeline/`, or something outside: upper left corner and width in pixels."""

    name: str
    about: str
    x: int
    y: int
    width: int

    @property
    def middle(self) -> float:
        """Where its text is centred."""
        return self.x + self.width / 2


FOLDERS = (
    Box("airflow", "operator, sensor", 12, 44, 124),
    Box("cli", "commands", 170, 44, 100),
    Box("watch", "dropped files", 282, 44, 112),
    Box("plan", "plan, verify, undo", 406, 44, 140),
    Box("doctor", "set-up checks", 558, 44, 112),
    Box("notify", "log, webhook", 682, 44, 118),
    Box("run", "prepare, execute, resume", 170, 120, 178),
    Box("runs", "runs on record", 360, 120, 124),
    Box("config", "pipeline.toml, secrets", 496, 120, 166),
    Box("ui", "terminal, HTML", 674, 120, 126),
    Box("loader", "1   file to typed jobs", 170, 196, 150),
    Box("jobs", "2   jobs file, joins", 344, 196, 132),
    Box("workers", "3   a row's life: send, retry, resolve", 500, 196, 300),
    Box("reporter", "7   results, summary", 170, 284, 132),
    Box("exchanges", "curl, HTTP", 306, 284, 92),
    Box("sign_in", "headers, tokens", 402, 284, 104),
    Box("pacing", "4   quota, pauses", 530, 284, 114),
    Box("http_client", "5   requests, replies", 660, 284, 140),
    Box("store", "6   what outlives a process: ledger, records, locks", 170, 360, 446),
    Box("object_storage", "objects in buckets", 628, 360, 172),
    Box("vendors", "each vendor: columns, requests, meaning of replies", 170, 432, 630),
    Box("model", "values: jobs, answers, results, quotas", 170, 504, 430),
    Box("simulator", "emulated vendors", 612, 504, 188),
)
"""Every folder of `pipeline/`, once. A folder imports from below, or from its right in its row."""

OUTSIDE = (
    Box("inputs/", "CSV, Parquet", 12, 196, 110),
    Box("reports/", "per run", 12, 284, 110),
    Box("vendor", "HTTP API", 836, 284, 92),
)

ARROWS = (
    ((122, 224), (168, 224)),  # inputs/ to loader
    ((320, 224), (342, 224)),  # loader to jobs
    ((476, 224), (498, 224)),  # jobs to workers
    ((587, 252), (587, 282)),  # workers to pacing
    ((644, 312), (658, 312)),  # pacing to http_client
    ((800, 304), (834, 304)),  # http_client to the vendor
    ((836, 322), (802, 322)),  # and back
    ((730, 284), (730, 254)),  # the reply to workers
    ((514, 252), (514, 358)),  # workers to store
    ((248, 360), (248, 342)),  # store to reporter
    ((170, 312), (124, 312)),  # reporter to reports/
)
"""The path of a row, from and to."""

STYLE = """
    svg { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
    .page { fill: #ffffff; }
    .folder { fill: #eef2f7; stroke: #5b6b7f; }
    .outside { fill: none; stroke: #5b6b7f; stroke-dasharray: 5 4; }
    text { fill: #1c2733; font-size: 12px; text-anchor: middle; }
    .name { font-size: 14px; font-weight: 600; }
    .note { fill: #4a5868; text-anchor: start; }
    .way { stroke: #b3470f; stroke-width: 2; }
    .head { fill: #b3470f; }
    @media (prefers-color-scheme: dark) {
      .page { fill: #14191f; }
      .folder { fill: #232c37; stroke: #8b9bb0; }
      .outside { stroke: #8b9bb0; }
      text { fill: #e6ebf1; }
      .note { fill: #aeb9c6; }
      .way { stroke: #ff9a5c; }
      .head { fill: #ff9a5c; }
    }
"""

HEAD = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
    'orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker>'
)


def picture() -> str:
    """The picture as SVG, readable on light and on dark pages: it has its own background."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>The folders of the pipeline, and the path of a row through them</title>",
        f"<style>{STYLE}</style>",
        f"<defs>{HEAD}</defs>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        _note(170, 28, "Imports point down, or right in a row."),
        _note(578, 28, "Arrows and numbers: the path of a row."),
        *(_box(box, "folder") for box in FOLDERS),
        *(_box(box, "outside") for box in OUTSIDE),
        *(_arrow(*arrow) for arrow in ARROWS),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _note(x: int, y: int, text: str) -> str:
    return f'<text class="note" x="{x}" y="{y}">{escape(text)}</text>'


def _box(box: Box, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{box.width}" height="{BOX_HEIGHT}" '
        f'rx="5"/><text class="name" x="{box.middle:g}" y="{box.y + 24}">{escape(box.name)}</text>'
        f'<text x="{box.middle:g}" y="{box.y + 43}">{escape(box.about)}</text>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="way" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" marker-end="url(#head)"/>'


if __name__ == "__main__":
    PICTURE.write_text(picture())
    print(f"Wrote {PICTURE.relative_to(ROOT)}", file=sys.stderr)  # noqa: T201 - a script
