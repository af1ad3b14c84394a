"""Formats numbers, times and foreign text for people. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from pipeline.model import Status

_BREAK = re.compile(r"\s*[\r\n\u2028\u2029]\s*")
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# C0, C1, surrogates, and marks that change the direction of text
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MINUTE_S, _HOUR_S = 60, 3600
_MILLION = 1_000_000

MEANING: Mapping[Status, str] = {
    Status.UPDATED: "the vendor confirmed it",
    Status.UNCHANGED: "held already, or sent before; nothing to do",
    Status.SUPERSEDED: "a newer row was applied; nothing to do",
    Status.INVALID: "never became a job; nothing was sent",
    Status.REJECTED: "the vendor refused it",
    Status.CONFLICT: "the vendor holds something else than expected; not applied",
    Status.FAILED: "gave up; certainly not applied",
    Status.UNKNOWN: "may have been applied: ask the vendor",
    Status.NOT_ATTEMPTED: "the run stopped first",
}


def number(count: int) -> str:
    """A count with thousands separators.

    >>> number(60000)
    '60,000'
    """
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """A count and its noun.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """A duration in at most two units.

    >>> duration(0.04), duration(3.04), duration(61), duration(5400), duration(3 * 86400)
    ('under 0.1 s', '3.0 s', '1 min 1 s', '1 h 30 min', '72 h')
    """
    if seconds < _MINUTE_S:
        return _short_duration(seconds)
    if round(seconds) < _HOUR_S:
        return _units(round(seconds), _MINUTE_S, "min", "s")
    return _units(round(seconds / _MINUTE_S), 60, "h", "min")


def about(seconds: float) -> str:
    """An estimated duration, rounded up so that it does not flicker.

    >>> about(0.01), about(3.2), about(75), about(5400)
    ('1 s', '4 s', '2 min', '1 h 30 min')
    """
    whole_s = max(1, math.ceil(seconds))
    if whole_s < _MINUTE_S:
        return f"{whole_s} s"
    return duration(_MINUTE_S * math.ceil(seconds / _MINUTE_S))


def compact(count: int) -> str:
    """A count in at most seven characters, up to 999.99 million.

    >>> compact(999_999), compact(9_061_000), compact(12_345_678)
    ('999,999', '9.06M', '12.35M')
    """
    return number(count) if count < _MILLION else f"{count / _MILLION:.2f}M"


def _short_duration(seconds: float) -> str:
    if seconds < 0.1:  # noqa: PLR2004 - the unit that is shown
        return "under 0.1 s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - digits


def _units(count: int, per: int, large: str, small: str) -> str:
    whole, rest = divmod(count, per)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"


def one_line(text: str) -> str:
    r"""Foreign text, safe for a terminal: one line, without control or direction characters.

    >>> one_line("no such\r\ncoupon \x1b[31m'x'\x00")
    "no such | coupon 'x'"
    """
    return _UNSEEN.sub("", _ESCAPE.sub("", _BREAK.sub(" | ", text.strip())).replace("\t", " "))


def printable(text: str) -> str:
    r"""Text for a terminal: keeps line ends and removes all other control characters.

    >>> printable("red \x1b[31mherring\x1b[0m\u202e\nnext \x9b31m line\a")
    'red herring\nnext 31m line'
    """
    return "\n".join(_UNSEEN.sub("", _ESCAPE.sub("", line)) for line in text.split("\n"))


def is_utf8(text: str) -> bool:
    r"""True if a name or an argument is UTF-8; Python reads other bytes as surrogates.

    >>> is_utf8("K\xfcche"), is_utf8("K\udcfcche")
    (True, False)
    """
    return not _SURROGATE.search(text)


def escaped(text: str) -> str:
    r"""A name or an argument whose bytes are not UTF-8, with an escape for each of these.

    >>> escaped("K\udcfcche")
    'K\\xfcche'
    """
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def row_list(rows: Iterable[int], count: int) -> str:
    """The numbers of some rows, and how many more of `count` there are.

    >>> row_list([3], 1), row_list([3, 9], 2), row_list([3, 9, 1200], 7)
    ('row 3', 'rows 3, 9', 'rows 3, 9, 1,200 and 4 more')
    """
    shown = [number(row) for row in rows]
    more = f" and {number(count - len(shown))} more" if count > len(shown) else ""
    return f"row{'' if count == 1 else 's'} {', '.join(shown)}{more}"


def verdict(counts: Mapping[Status, int]) -> str:
    """One sentence about the results of a run.

    >>> verdict({Status.UPDATED: 24, Status.INVALID: 3, Status.UNKNOWN: 1})
    '24 of 28 rows updated; 3 invalid, 1 unknown'
    >>> verdict({Status.UPDATED: 2}), verdict({})
    ('All 2 rows updated', 'No rows, so nothing was sent')
    """
    total, updated = sum(counts.values()), counts.get(Status.UPDATED, 0)
    if not total:
        return "No rows, so nothing was sent"
    if updated == total:
        return f"All {number(total)} rows updated" if total > 1 else "1 of 1 row updated"
    if counts.get(Status.UNCHANGED) == total:
        rows = f"all {number(total)} rows already match" if total > 1 else "the row already matches"
        return f"Nothing to change: {rows}"
    others = ", ".join(
        f"{number(counts[status])} {status.replace('_', ' ')}"
        for status in Status
        if status is not Status.UPDATED and counts.get(status)
    )
    return f"{number(updated)} of {counted(total, 'row')} updated; {others}"
