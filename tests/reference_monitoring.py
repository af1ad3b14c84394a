"""docs/reference/monitoring.md: events of the log, and metrics."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import get_args

from pipeline.notify import Metrics
from pipeline.notify.events import Event
from pipeline.notify.metrics import SINGLE
from tests.markdown import code, page, table


def monitoring() -> str:
    """The page."""
    about = (
        "Events of `--log`, and metrics for Prometheus. A `run_ended` with exit code 1 or an "
        "anomaly is a warning, with a higher code an error. How to use both: "
        "[monitoring.md](../monitoring.md)."
    )
    return page(
        "Log events and metrics",
        about,
        ["## Events", "", *table(["event", "level", "meaning", "fields"], _events())],
        ["## Metrics", "", *table(["metric", "meaning"], sorted(_metrics()))],
    )


def _events() -> Iterator[tuple[str, str, str, str]]:
    for kind in get_args(Event):
        name = re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower()
        named = ", ".join(code(each.name) for each in fields(kind))
        yield code(name), kind.LEVEL, inspect.cleandoc(kind.__doc__), named


def _metrics() -> Iterator[tuple[str, str]]:
    """Name and meaning of each. Those of `SINGLE` are in the text once they are known."""
    for line in Metrics().text().decode().splitlines():
        found = re.fullmatch(r"# HELP (\w+) (.*)", line)
        if found and not found[1].endswith("_created"):
            yield code(found[1]), f"{found[2]}."
    for name, meaning in SINGLE.items():
        yield code(f"offer_pipeline_{name}"), f"{meaning}."
