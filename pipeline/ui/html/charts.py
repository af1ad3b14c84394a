"""Charts as SVG that stretches to any width. The SVG has shapes only; the text is HTML beside it.

Colours are CSS classes: light, dark and print each have their own. A chart contains nothing from a
file or a vendor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.model.sample import LATENCY_BOUNDS_S
from pipeline.ui.html.scale import clock, latency, plain, ticks, time_ticks_s
from pipeline.ui.html.timeline import Break, Point, percentile_s

_WIDTH, _HEIGHT = 1000, 100
_MAX_LIMIT_RATIO = 3.0  # times the highest value; a higher limit would flatten the curve
_MARK_SHARE = 0.12
_DECADES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
PERCENTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """An SVG and the text around it.

    picture  the `svg` element
    label    a description for screen readers
    y_axis   (position in percent from the bottom, label) of the grid lines
    x_axis   (position in percent from the left, label)
    legend   (class, text) of what is drawn
    note     what the chart leaves out; empty if nothing
    """

    picture: Markup
    label: str
    y_axis: tuple[tuple[float, str], ...]
    x_axis: tuple[tuple[float, str], ...]
    legend: tuple[tuple[str, str], ...]
    note: str = ""


def rate_chart(
    points: Sequence[Point], total_s: float, breaks: Sequence[Break], quota_per_s: float
) -> Chart:
    """Draw requests per second over the run, and the rate allowed at each time.

    quota_per_s  allowed rate for samples without one; 0 for no quota
    """
    highest = max((point.sent_per_s for point in points), default=0.0)
    allowed = [point.allowed_per_s or quota_per_s for point in points]
    shows_limit = 0 < max(allowed) <= highest * _MAX_LIMIT_RATIO
    lines = ticks(max(highest, *allowed) if shows_limit else highest)
    y = _y_scale(lines[-1])
    shapes = [*_background(points, total_s, breaks, lines)]
    shapes += _curve(points, total_s, lambda point: y(point.sent_per_s), "rate", is_filled=True)
    if shows_limit:
        shapes += _curve(
            points, total_s, lambda point: y(point.allowed_per_s or quota_per_s), "limit"
        )
    shapes += _throttle_marks(points, total_s)
    limit = f"{plain(round(min(allowed), 2))}/s"
    if min(allowed) < max(allowed):
        limit = f"{plain(round(min(allowed), 2))} to {plain(round(max(allowed), 2))}/s"
    return Chart(
        picture=_picture(shapes),
        label=f"Requests per second over {clock(total_s)}, at most {plain(highest)}",
        y_axis=_y_labels(lines),
        x_axis=_x_labels(total_s),
        legend=(
            ("rate", "requests per second"),
            *([("limit", f"allowed, {limit}")] if shows_limit else []),
            *_legend_marks(points, breaks),
        ),
        note=""
        if shows_limit or not max(allowed)
        else f"The allowed rate, {limit}, is above the top of the chart.",
    )


def flight_chart(points: Sequence[Point], total_s: float, breaks: Sequence[Break]) -> Chart:
    """Draw requests in flight over the run, and the limit at each time."""
    highest = max((point.in_flight for point in points), default=0)
    limits = [point.in_flight_limit for point in points]
    lines = ticks(max(highest, *limits, 1), whole=True)
    y = _y_scale(lines[-1])
    shapes = [*_background(points, total_s, breaks, lines)]
    shapes += _curve(points, total_s, lambda point: y(point.in_flight), "flight", is_filled=True)
    shapes += _curve(points, total_s, lambda point: y(point.in_flight_limit), "limit")
    shapes += _throttle_marks(points, total_s)
    return Chart(
        picture=_picture(shapes),
        label=f"Requests in flight over {clock(total_s)}, at most {highest} of {max(limits)}",
        y_axis=_y_labels(lines),
        x_axis=_x_labels(total_s),
        legend=(
            ("flight", "requests in flight"),
            ("limit", "limit"),
            *_legend_marks(points, breaks),
        ),
    )


def latency_chart(counts: Sequence[int]) -> Chart:
    """Draw the distribution of latencies on a logarithmic axis, with percentiles."""
    used = [number for number, count in enumerate(counts) if count]
    first, last = max(0, used[0] - 2), min(len(counts) - 1, used[-1] + 2)
    width = _WIDTH / (last - first + 1)
    lines = ticks(max(counts), whole=True)
    y = _y_scale(lines[-1])
    shapes: list[str] = [*_grid(lines)]
    shapes += [
        _shape(
            "rect",
            "bar",
            x=_rounded((number - first) * width + width * 0.08),
            y=_rounded(y(counts[number])),
            width=_rounded(width * 0.84),
            height=_rounded(_HEIGHT - y(counts[number])),
        )
        for number in used
    ]
    legend = [("bar", "replies")]
    for share in PERCENTILES:
        bound_s = percentile_s(tuple(counts), share)
        if bound_s is not None:
            place = (LATENCY_BOUNDS_S.index(bound_s) + 1 - first) * width
            shapes.append(_vertical_line(place, "percentile"))
    legend.append(("percentile", ", ".join(f"p{share * 100:.0f}" for share in PERCENTILES)))
    x_axis = tuple(
        (100 * (_bound_number(decade) + 1 - first) * width / _WIDTH, latency(decade))
        for decade in _DECADES
        if first - 1 <= _bound_number(decade) <= last
    )
    return Chart(
        picture=_picture(shapes),
        label=f"Latency of {sum(counts):,} replies",
        y_axis=_y_labels(lines),
        x_axis=x_axis,
        legend=tuple(legend),
    )


def _bound_number(seconds: float) -> float:
    """Fractional index of a latency in LATENCY_BOUNDS_S, which double every second step."""
    number = min(range(len(LATENCY_BOUNDS_S)), key=lambda at: abs(LATENCY_BOUNDS_S[at] - seconds))
    low = LATENCY_BOUNDS_S[number]
    return number + (seconds / low - 1) / (2**0.5 - 1)


def _picture(shapes: Sequence[str]) -> Markup:
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none"'
    drawn = f'<svg aria-hidden="true" focusable="false" {box}>{"".join(shapes)}</svg>'
    return Markup(drawn)  # noqa: S704 - numbers and fixed text only


def _shape(tag: str, name: str, **attributes: float | str) -> str:
    """An element of a class. Its values are numbers and paths of numbers, so none needs escapes.

    >>> _shape("line", "grid", x1=0, y1=2.5)
    '<line class="grid" x1="0" y1="2.5"/>'
    """
    values = "".join(f' {attribute}="{value}"' for attribute, value in attributes.items())
    return f'<{tag} class="{name}"{values}/>'


def _background(
    points: Sequence[Point], total_s: float, breaks: Sequence[Break], lines: Sequence[float]
) -> Iterator[str]:
    yield from _grid(lines)
    yield from _bands(points, total_s, "pause", lambda point: point.paused_s)
    yield from _bands(points, total_s, "probe", lambda point: point.probing_s)
    for each in breaks:
        yield _vertical_line(each.elapsed_s / total_s * _WIDTH, "break")


def _throttle_marks(points: Sequence[Point], total_s: float) -> Iterator[str]:
    """A short line at the top for each point with throttled replies."""
    for point in points:
        if point.throttled:
            x = _rounded((point.start_s + point.end_s) / 2 / total_s * _WIDTH)
            yield _shape("line", "refused", x1=x, x2=x, y1=0, y2=_HEIGHT * _MARK_SHARE)


def _bands(
    points: Sequence[Point], total_s: float, name: str, held_s: Callable[[Point], float]
) -> Iterator[str]:
    """Bands over the points in which a state held for some time; adjacent points share one band."""
    start_s: float | None = None
    for point in points:
        if held_s(point) > 0:
            start_s = point.start_s if start_s is None else start_s
        elif start_s is not None:
            yield _band(start_s, point.start_s, total_s, name)
            start_s = None
    if start_s is not None:
        yield _band(start_s, points[-1].end_s, total_s, name)


def _band(start_s: float, end_s: float, total_s: float, name: str) -> str:
    return _shape(
        "rect",
        name,
        x=_rounded(start_s / total_s * _WIDTH),
        y=0,
        width=_rounded((end_s - start_s) / total_s * _WIDTH),
        height=_HEIGHT,
    )


def _curve(
    points: Sequence[Point],
    total_s: float,
    y: Callable[[Point], float],
    name: str,
    *,
    is_filled: bool = False,
) -> Iterator[str]:
    """A step curve: each point has one value for its whole time."""
    if not points:
        return
    path = ""
    for number, point in enumerate(points):
        x, height = _rounded(point.start_s / total_s * _WIDTH), _rounded(y(point))
        path += f"H{x}V{height}" if number else f"M{x},{height}"
    path += f"H{_rounded(points[-1].end_s / total_s * _WIDTH)}"
    if is_filled:
        start = _rounded(points[0].start_s / total_s * _WIDTH)
        yield _shape("path", f"{name}-area", d=f"{path}V{_HEIGHT}H{start}Z")
    yield _shape("path", name, d=path)


def _grid(lines: Sequence[float]) -> Iterator[str]:
    for value in lines:
        y = _rounded(_HEIGHT - value / lines[-1] * _HEIGHT)
        yield _shape("line", "grid", x1=0, x2=_WIDTH, y1=y, y2=y)


def _vertical_line(x: float, name: str) -> str:
    return _shape("line", name, x1=_rounded(x), x2=_rounded(x), y1=0, y2=_HEIGHT)


def _y_scale(highest: float) -> Callable[[float], float]:
    return lambda value: _HEIGHT - value / highest * _HEIGHT


def _y_labels(lines: Sequence[float]) -> tuple[tuple[float, str], ...]:
    return tuple((round(100 * value / lines[-1], 2), plain(value)) for value in lines)


def _x_labels(total_s: float) -> tuple[tuple[float, str], ...]:
    return tuple((round(100 * at / total_s, 2), clock(at)) for at in time_ticks_s(total_s))


def _legend_marks(points: Sequence[Point], breaks: Sequence[Break]) -> Iterator[tuple[str, str]]:
    if any(point.paused_s for point in points):
        yield "pause", "the vendor asked for a pause"
    if any(point.probing_s for point in points):
        yield "probe", "the vendor was down: one probe request at a time"
    throttled = sum(point.throttled for point in points)
    if throttled:
        yield "refused", f"throttled replies: {throttled:,}"
    if breaks:
        yield "break", "resumed"


def _rounded(value: float) -> float:
    """Round to a tenth; an int if whole."""
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded
