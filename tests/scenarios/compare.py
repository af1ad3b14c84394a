"""Our engine and a plain client on the same scenarios: python -m tests.scenarios.compare [NAMES].

Prints a Markdown table, in each cell the pipeline first and the plain client behind the stroke. The
time is virtual, so the figures are the same each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from tests.scenarios import metrics
from tests.scenarios.metrics import Run
from tests.scenarios.ours import send_ours
from tests.scenarios.plain import send_plain
from tests.scenarios.play import play
from tests.scenarios.scenario import load_scenarios

HEAD = (
    "| scenario | of the best possible | wasted | longest overload | requests in outages "
    "| too early | rows lost |\n| --- | --- | --- | --- | --- | --- | --- |"
)


def lines(names: Sequence[str]) -> Iterator[str]:
    """The table; of all scenarios where none is named."""
    yield HEAD
    for scenario in load_scenarios():
        if not names or scenario.name in names:
            ours, plain = figures(play(scenario, send_ours)), figures(play(scenario, send_plain))
            cells = [f"{a} / {b}" for a, b in zip(ours, plain, strict=True)]
            yield f"| {' | '.join([scenario.name, *cells])} |"


def figures(run: Run) -> tuple[str, ...]:
    """What came out, one cell each."""
    whole = run, 0.0, run.scenario.lasts_s
    return (
        f"{metrics.share(*whole):.3f}",
        f"{metrics.wasted(*whole):.1%}",
        f"{metrics.overload_s(*whole):.1f} s",
        f"{metrics.in_outage(*whole):g}",
        f"{metrics.early(*whole):g}",
        f"{run.lost_rows}",
    )


if __name__ == "__main__":
    for line in lines(sys.argv[1:]):
        print(line, flush=True)
