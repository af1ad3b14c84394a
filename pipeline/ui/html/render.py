"""Renders pages from templates; every text is escaped."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.model import Status
from pipeline.model.exchange import Exchange
from pipeline.model.formatting import MEANING, counted, duration, number, one_line, row_list
from pipeline.model.sample import LATENCY_BOUNDS_S
from pipeline.reporter.aggregate import Aggregate, ExampleRow
from pipeline.reporter.summary import Counts, ErrorSummary, Summary
from pipeline.ui.html.advice import ended, headline, steps, tone_of
from pipeline.ui.html.compiled_templates import CompiledTemplates
from pipeline.ui.html.run_index import Card, card_of, comparison, earlier
from pipeline.ui.html.scale import clock, latency
from pipeline.ui.html.timeline import Point, Timelines, percentile_s
from pipeline.ui.terminal.runs_table import moment

MAX_KINDS = 50
MAX_IN_FULL = 20
"""Kinds of errors with example rows and an exchange."""
MAX_INDEXED = 500
_MAX_CURVES = 12
_MAX_TABLE_POINTS = 60
_FEW_POINTS = 5
_FEW_REPLIES = 30
_SHOWN_EXAMPLES = 3
_MESSAGE_CHARS = 1_000
_EXCHANGE_CHARS = 3_000
_MAX_ATTEMPTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Rows per status of one operation and account; both names may be empty."""

    account: str
    operation: str
    statuses: Counts

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.statuses.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """The values of a page.

    kinds       kinds of errors, most frequent first, at most MAX_KINDS
    not_listed  number of failed rows of other kinds
    exchanges   index in `kinds` -> request and reply of one of its rows
    allowed     account -> requests per second that its quota allows; 0 for none
    cards       other reports in the same folder, newest first
    """

    summary: Summary
    outcomes: Sequence[Outcome]
    kinds: Sequence[ErrorSummary]
    not_listed: int
    exchanges: Mapping[int, Exchange]
    aggregate: Aggregate
    timelines: Timelines
    allowed: Mapping[str, float]
    cards: Iterable[Card]


def report_page(facts: PageFacts) -> str:
    """Render the page of a run."""
    summary = facts.summary
    this = card_of(summary)
    before = earlier(facts.cards, this)
    return render(
        "report.html",
        summary=summary,
        file_name=posixpath.basename(summary.input.file),
        headline=headline(summary.why, summary.statuses),
        tone=tone_of(summary.exit_code),
        ended=ended(summary),
        steps=steps(summary),
        started=moment(datetime.fromisoformat(summary.started)),
        notes=_notes(summary),
        meaning=MEANING,
        seen=[status for status, count in summary.statuses.items() if count],
        outcomes=facts.outcomes,
        kinds=facts.kinds,
        not_listed=facts.not_listed,
        exchanges=facts.exchanges,
        run_quoted=shlex.quote(summary.run),
        most_in_full=MAX_IN_FULL,
        examples_of=facts.aggregate.examples,
        slowest=facts.aggregate.slowest,
        most_retried=facts.aggregate.most_retried,
        attempts=_attempts(facts.aggregate),
        cards=[this, *before] if before else [],
        comparison=comparison(this, before),
        settings=list(_flat(summary.settings)),
        **_curves(facts),
        latencies=list(_latencies(facts.timelines)),
    )


def index_page(cards: Sequence[Card]) -> str:
    """Render the list of runs, newest first, at most MAX_INDEXED of them."""
    shown = cards[:MAX_INDEXED]
    return render(
        "index.html",
        cards=shown,
        is_cut=len(cards) > MAX_INDEXED,
        failing=sum(card.wrong > 0 for card in shown),
        latest_tone=shown[0].tone if shown else "good",
    )


# Values of the parts of a page


def _notes(summary: Summary) -> list[str]:
    """Warnings, and notes about quotas."""
    quotas = [
        f"{name}: {words}"
        for name, account in summary.accounts.items()
        if account.requests
        for words in account.quota_notes()
    ]
    return [*summary.warnings, *quotas]


def _attempts(aggregate: Aggregate) -> list[tuple[int, int]]:
    """(number of attempts, rows), the first few; empty if no row was sent twice."""
    found = sorted(aggregate.attempts.items())
    return found[:_MAX_ATTEMPTS] if found and found[-1][0] > 1 else []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """One account over time; the charts are None if there are too few points."""

    account: str
    rate: Any
    flight: Any
    table: Sequence[Point]


def _curves(facts: PageFacts) -> dict[str, Any]:
    lines = facts.timelines
    busiest = sorted(lines.points().items(), key=lambda item: -sum(point.sent for point in item[1]))
    sending = [(account, points) for account, points in busiest if any(p.sent for p in points)]
    began = datetime.fromisoformat(facts.summary.started)
    return {
        "curves": [
            _curve(account, points, lines, facts.allowed.get(account, 0.0))
            for account, points in sending[:_MAX_CURVES]
        ],
        "curves_left_out": max(0, len(sending) - _MAX_CURVES),
        "breaks": lines.breaks,
        "began": f"{began.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
    }


def _curve(account: str, points: Sequence[Point], lines: Timelines, allowed: float) -> _Curve:
    table = list(_thinned(points))
    if len(points) < _FEW_POINTS:
        return _Curve(account=account, rate=None, flight=None, table=table)
    # short runs without a chart start faster without svg
    from pipeline.ui.html.charts import flight_chart, rate_chart  # noqa: PLC0415

    return _Curve(
        account=account,
        rate=rate_chart(points, lines.seconds, lines.breaks, allowed),
        flight=flight_chart(points, lines.seconds, lines.breaks),
        table=table,
    )


def _thinned(points: Sequence[Point]) -> Iterator[Point]:
    """Merge adjacent points, to at most _MAX_TABLE_POINTS."""
    each = -(-len(points) // _MAX_TABLE_POINTS)
    for start in range(0, len(points), each):
        first, *others = points[start : start + each]
        merged = Point(first.start_s, first.end_s)
        for point in (first, *others):
            merged.merge(point)
        yield merged


@dataclass(frozen=True, slots=True, kw_only=True)
class _Latency:
    account: str
    replies: int
    bounds: Sequence[tuple[str, str]]
    drawn: Any
    table: Sequence[tuple[str, int]]


def _latencies(lines: Timelines) -> Iterator[_Latency]:
    busiest = sorted(lines.latencies.items(), key=lambda item: -sum(item[1]))
    for account, counts in busiest[:_MAX_CURVES]:
        replies = sum(counts)
        shares = ((0.5, "half"), (0.9, "90 %"), (0.99, "99 %"), (1.0, "all"))
        drawn = None
        if replies >= _FEW_REPLIES:
            from pipeline.ui.html.charts import latency_chart  # noqa: PLC0415

            drawn = latency_chart(counts)
        yield _Latency(
            account=account,
            replies=replies,
            bounds=[(latency(percentile_s(counts, share)), label) for share, label in shares],
            drawn=drawn,
            table=[
                (latency(bound_s), count)
                for bound_s, count in zip((*LATENCY_BOUNDS_S, None), counts, strict=True)
                if count
            ],
        )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """JSON values as (path, text).

    >>> list(_flat({"a": {"b": [1, None]}, "c": True}))
    [('a.b.0', '1'), ('a.b.1', 'none'), ('c', 'true')]
    """
    if isinstance(value, Mapping) and value:
        inner: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)) and value:
        inner = enumerate(value)
    else:
        plain = value is None or isinstance(value, (bool, Mapping, list, tuple))
        yield name, str(value or "none").lower() if plain and value is not False else str(value)
        return
    for key, each in inner:
        yield from _flat(each, f"{name}.{key}" if name else str(key))


# Templates


def render(template: str, **values: Any) -> str:
    """Render a template; each text among the values is escaped."""
    examples: Mapping[int, ExampleRow] = values.get("examples_of", {})
    environment = _environment()
    return environment.get_template(template).render(
        **values,
        examples_among=lambda rows: [
            examples[row] for row in rows[:_SHOWN_EXAMPLES] if row in examples
        ],
    )


@cache
def _environment() -> Environment:
    here = Path(__file__)
    environment = Environment(
        loader=PackageLoader("pipeline.ui.html"),
        bytecode_cache=CompiledTemplates(
            folder=here.parent / "templates" / "__pycache__", made_by=here
        ),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base_name": posixpath.basename,
        "clock": clock,
        "counted": counted,
        "duration": duration,
        "lines": _lines,
        "moment": moment,
        "moment_of": lambda text: moment(datetime.fromisoformat(text)),
        "number": number,
        "pace": lambda value: f"{value:,.1f}",
        "percent": lambda share: f"{share:.0%}",
        "row_list": row_list,
        "shortened": _shortened,
        "upper_first": lambda text: text[:1].upper() + text[1:],
        "utc": lambda at_s: moment(datetime.fromtimestamp(at_s, UTC)),
        "words": lambda status: Status(status).replace("_", " "),
    }
    return environment


def _printable(value: Any) -> Any:
    """Remove control and direction marks from a text, and put it on one line."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _shortened(text: str, most: int = _MESSAGE_CHARS) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _lines(text: str) -> Markup:
    """Escape a text of several lines and keep its line breaks."""
    return Markup("\n").join(map(one_line, _shortened(text, _EXCHANGE_CHARS).splitlines()))
