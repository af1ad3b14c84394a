"""Charts as SVG that any width may stretch: shapes only, the words stand beside them as HTML.

Colours are classes of the page's style, so that light, dark and paper each have their own. Nothing
that came from a file or a vendor goes into a chart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import svg
from markupsafe import Markup

from pipeline.model.sample import LATENCY_BOUNDS_S
from pipeline.ui.html.scale import clock, latency, plain, ticks, time_ticks_s
from pipeline.ui.html.timeline import Break, Point, percentile_s

_WIDTH, _HEIGHT = 1000.0, 100.0
_LIMIT_IN_SIGHT = 3.0  # times the highest value; a limit above would press that flat
_MARK_SHARE = 0.12
_DECADES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
PERCENTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture and the words around it.

    picture  the `svg` element
    says     what it shows, for those who do not see it
    up       (place in percent from below, label) of the lines behind it
    along    (place in percent from the left, label)
    keys     (class, words) of what is drawn
    note     what it leaves out; empty where nothing
    """

    picture: Markup
    says: str
    up: tuple[tuple[float, str], ...]
    along: tuple[tuple[float, str], ...]
    keys: tuple[tuple[str, str], ...]
    note: str = ""


def rate_chart(
    points: Sequence[Point], total_s: float, breaks: Sequence[Break], quota_per_s: float
) -> Chart:
    """Requests per second over the run, below what was allowed at that moment.

    quota_per_s  holds where the samples do not tell it; 0 for no quota
    """
    highest = max((point.sent_per_s for point in points), default=0.0)
    allowed = [point.allowed_per_s or quota_per_s for point in points]
    is_seen = 0 < max(allowed) <= highest * _LIMIT_IN_SIGHT
    lines = ticks(max(highest, *allowed) if is_seen else highest)
    y = _upwards(lines[-1])
    shapes = [*_behind(points, total_s, breaks, lines)]
    shapes += _curve(points, total_s, lambda point: y(point.sent_per_s), "rate", is_filled=True)
    if is_seen:
        shapes += _curve(
            points, total_s, lambda point: y(point.allowed_per_s or quota_per_s), "limit"
        )
    shapes += _throttled(points, total_s)
    limit = f"{plain(round(min(allowed), 2))}/s"
    if min(allowed) < max(allowed):
        limit = f"{plain(round(min(allowed), 2))} to {plain(round(max(allowed), 2))}/s"
    return Chart(
        picture=_picture(shapes),
        says=f"Requests per second over {clock(total_s)}, at most {plain(highest)}",
        up=_labels_up(lines),
        along=_labels_along(total_s),
        keys=(
            ("rate", "requests per second"),
            *([("limit", f"allowed, {limit}")] if is_seen else []),
            *_marks(points, breaks),
        ),
        note=""
        if is_seen or not max(allowed)
        else f"What was allowed, {limit}, lies above the picture.",
    )


def flight_chart(points: Sequence[Point], total_s: float, breaks: Sequence[Break]) -> Chart:
    """Requests in flight over the run, below the limit of that moment."""
    highest = max((point.in_flight for point in points), default=0)
    limits = [point.in_flight_limit for point in points]
    lines = ticks(max(highest, *limits, 1), whole=True)
    y = _upwards(lines[-1])
    shapes = [*_behind(points, total_s, breaks, lines)]
    shapes += _curve(points, total_s, lambda point: y(point.in_flight), "flight", is_filled=True)
    shapes += _curve(points, total_s, lambda point: y(point.in_flight_limit), "limit")
    shapes += _throttled(points, total_s)
    return Chart(
        picture=_picture(shapes),
        says=f"Requests in flight over {clock(total_s)}, at most {highest} of {max(limits)}",
        up=_labels_up(lines),
        along=_labels_along(total_s),
        keys=(("flight", "requests in flight"), ("limit", "limit"), *_marks(points, breaks)),
    )


def latency_chart(counts: Sequence[int]) -> Chart:
    """How many replies took how long, on a logarithmic axis, with percentiles."""
    used = [number for number, count in enumerate(counts) if count]
    first, last = max(0, used[0] - 2), min(len(counts) - 1, used[-1] + 2)
    width = _WIDTH / (last - first + 1)
    lines = ticks(max(counts), whole=True)
    y = _upwards(lines[-1])
    shapes: list[svg.Element] = [*_grid(lines)]
    shapes += [
        svg.Rect(
            class_=["bar"],
            x=_short((number - first) * width + width * 0.08),
            y=_short(y(counts[number])),
            width=_short(width * 0.84),
            height=_short(_HEIGHT - y(counts[number])),
        )
        for number in used
    ]
    keys = [("bar", "replies")]
    for share in PERCENTILES:
        bound_s = percentile_s(tuple(counts), share)
        if bound_s is not None:
            place = (LATENCY_BOUNDS_S.index(bound_s) + 1 - first) * width
            shapes.append(_upright(place, "percentile"))
    keys.append(("percentile", ", ".join(f"p{share * 100:.0f}" for share in PERCENTILES)))
    along = tuple(
        (100 * (_bound_number(decade) + 1 - first) * width / _WIDTH, latency(decade))
        for decade in _DECADES
        if first - 1 <= _bound_number(decade) <= last
    )
    return Chart(
        picture=_picture(shapes),
        says=f"Latency of {sum(counts):,} replies",
        up=_labels_up(lines),
        along=along,
        keys=tuple(keys),
    )


def _bound_number(seconds: float) -> float:
    """Where a latency lies among LATENCY_BOUNDS_S, which double every second step."""
    number = min(range(len(LATENCY_BOUNDS_S)), key=lambda at: abs(LATENCY_BOUNDS_S[at] - seconds))
    low = LATENCY_BOUNDS_S[number]
    return number + (seconds / low - 1) / (2**0.5 - 1)


def _picture(shapes: Sequence[svg.Element]) -> Markup:
    drawn = svg.SVG(
        viewBox=svg.ViewBoxSpec(0, 0, _WIDTH, _HEIGHT),
        preserveAspectRatio=svg.PreserveAspectRatio("none"),
        elements=list(shapes),
    )
    text = drawn.as_str().replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    return Markup(text)  # noqa: S704 - numbers and our own words only


def _behind(
    points: Sequence[Point], total_s: float, breaks: Sequence[Break], lines: Sequence[float]
) -> Iterator[svg.Element]:
    yield from _grid(lines)
    yield from _bands(points, total_s, "pause", lambda point: point.paused_s)
    yield from _bands(points, total_s, "probe", lambda point: point.probing_s)
    for each in breaks:
        yield _upright(each.elapsed_s / total_s * _WIDTH, "break")


def _throttled(points: Sequence[Point], total_s: float) -> Iterator[svg.Element]:
    """A short line at the top wherever the vendor said that there were too many requests."""
    for point in points:
        if point.throttled:
            x = _short((point.start_s + point.end_s) / 2 / total_s * _WIDTH)
            yield svg.Line(class_=["refused"], x1=x, x2=x, y1=0, y2=_HEIGHT * _MARK_SHARE)


def _bands(
    points: Sequence[Point], total_s: float, name: str, held_s: Callable[[Point], float]
) -> Iterator[svg.Element]:
    """Where something held for at least a part of a point, neighbours as one."""
    start_s: float | None = None
    for point in points:
        if held_s(point) > 0:
            start_s = point.start_s if start_s is None else start_s
        elif start_s is not None:
            yield _band(start_s, point.start_s, total_s, name)
            start_s = None
    if start_s is not None:
        yield _band(start_s, points[-1].end_s, total_s, name)


def _band(start_s: float, end_s: float, total_s: float, name: str) -> svg.Element:
    return svg.Rect(
        class_=[name],
        x=_short(start_s / total_s * _WIDTH),
        y=0,
        width=_short((end_s - start_s) / total_s * _WIDTH),
        height=_HEIGHT,
    )


def _curve(
    points: Sequence[Point],
    total_s: float,
    y: Callable[[Point], float],
    name: str,
    *,
    is_filled: bool = False,
) -> Iterator[svg.Element]:
    """Steps, for a point tells of a stretch of time and of nothing within it."""
    if not points:
        return
    path: list[svg.PathData] = []
    for number, point in enumerate(points):
        x = _short(point.start_s / total_s * _WIDTH)
        path += [svg.M(x, _short(y(point)))] if not number else [svg.H(x), svg.V(_short(y(point)))]
    end = _short(points[-1].end_s / total_s * _WIDTH)
    path.append(svg.H(end))
    if is_filled:
        start = _short(points[0].start_s / total_s * _WIDTH)
        below: list[svg.PathData] = [svg.V(_HEIGHT), svg.H(start), svg.Z()]
        yield svg.Path(class_=[f"{name}-area"], d=[*path, *below])
    yield svg.Path(class_=[name], d=path)


def _grid(lines: Sequence[float]) -> Iterator[svg.Element]:
    for value in lines:
        y = _short(_HEIGHT - value / lines[-1] * _HEIGHT)
        yield svg.Line(class_=["grid"], x1=0, x2=_WIDTH, y1=y, y2=y)


def _upright(x: float, name: str) -> svg.Element:
    return svg.Line(class_=[name], x1=_short(x), x2=_short(x), y1=0, y2=_HEIGHT)


def _upwards(highest: float) -> Callable[[float], float]:
    return lambda value: _HEIGHT - value / highest * _HEIGHT


def _labels_up(lines: Sequence[float]) -> tuple[tuple[float, str], ...]:
    return tuple((round(100 * value / lines[-1], 2), plain(value)) for value in lines)


def _labels_along(total_s: float) -> tuple[tuple[float, str], ...]:
    return tuple((round(100 * at / total_s, 2), clock(at)) for at in time_ticks_s(total_s))


def _marks(points: Sequence[Point], breaks: Sequence[Break]) -> Iterator[tuple[str, str]]:
    if any(point.paused_s for point in points):
        yield "pause", "the vendor asked for a pause"
    if any(point.probing_s for point in points):
        yield "probe", "the vendor was down: one request at a time asked for it"
    throttled = sum(point.throttled for point in points)
    if throttled:
        yield "refused", f"too many requests, said {throttled:,} answers"
    if breaks:
        yield "break", "carried on"


def _short(value: float) -> float:
    """As many digits as a screen shows."""
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded
