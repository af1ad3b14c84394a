"""Grid lines and axis labels of charts. Pure."""

from __future__ import annotations

import math

_STEPS = (1.0, 2.0, 5.0, 10.0)
_MINUTE_S, _HOUR_S = 60, 3600
_TIME_STEPS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE_S * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(_HOUR_S * hours for hours in (1, 2, 3, 6, 12, 24)),
)


def ticks(highest: float, most: int = 4, *, whole: bool = False) -> tuple[float, ...]:
    """Round values from 0 to the first that is at least `highest`, at most `most` above 0.

    whole  True for counts: whole numbers only

    >>> ticks(17.0), ticks(0.9), ticks(1.0, whole=True), ticks(0.0)
    ((0.0, 5.0, 10.0, 15.0, 20.0), (0.0, 0.5, 1.0), (0.0, 1.0), (0.0, 1.0))
    """
    if highest <= 0:
        return (0.0, 1.0)
    size = 10.0 ** math.floor(math.log10(highest / most))
    step = next(size * each for each in _STEPS if size * each * most >= highest * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    count = math.ceil(highest / step * (1 - 1e-9))
    return tuple(round(step * number, 6) for number in range(count + 1))


def time_ticks_s(total_s: float, most: int = 6) -> tuple[float, ...]:
    """Times from 0 to at most `total_s`, in steps of whole seconds, minutes or hours.

    >>> time_ticks_s(95.0), time_ticks_s(2.4)
    ((0.0, 30.0, 60.0, 90.0), (0.0, 1.0, 2.0))
    """
    step_s = next((float(s) for s in _TIME_STEPS_S if s * most >= total_s), 0.0)
    if not step_s:  # days: whole ones
        step_s = 24.0 * _HOUR_S * math.ceil(total_s / (24 * _HOUR_S * most))
    return tuple(step_s * number for number in range(int(total_s / step_s) + 1))


def clock(seconds: float) -> str:
    """Format a time since the start for the axis of a chart.

    >>> clock(0), clock(45), clock(90), clock(5400)
    ('0', '45 s', '1:30 min', '1:30 h')
    """
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s" if whole else "0"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}:{whole % _MINUTE_S:02} min"
    return f"{whole // _HOUR_S}:{whole % _HOUR_S // _MINUTE_S:02} h"


def plain(value: float) -> str:
    """Format a value without trailing zeros.

    >>> plain(2000.0), plain(0.5), plain(12.345)
    ('2,000', '0.5', '12.35')
    """
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def latency(seconds: float | None) -> str:
    """Format the bound of a latency; None is beyond the last.

    >>> latency(0.0453), latency(1.448), latency(92.68), latency(None)
    ('45 ms', '1.4 s', '93 s', 'over 3 min')
    """
    if seconds is None:
        return "over 3 min"
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"  # noqa: PLR2004 - digits
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - digits
