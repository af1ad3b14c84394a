"""Reads the start of a CSV file: byte order mark, `sep=` line, delimiter, names. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from pipeline.loader.csv_quotes import (
    QUOTE,
    stand_ins,
    whole_records,
)

DELIMITERS = (",", ";", "\t", "|")
BOM = b"\xef\xbb\xbf"
_SEP_LINE = re.compile(rb'"?sep=(.?)"?', re.IGNORECASE | re.DOTALL)
_BLANKS = b" \t\r,;|"
_STATE_IT = """State it in the settings, as in: delimiter = "," (also for a file of one column)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderPlace:
    """The position of the header record.

    start_byte, end_byte  of the record in the text, including its line end
    line                  line on which it starts, from 1
    blank_lines           number of blank lines before it
    sep                   delimiter in a first line `sep=`, possibly empty; None without such a line
    """

    has_bom: bool
    sep: str | None
    line: int
    blank_lines: int
    start_byte: int
    end_byte: int


class DelimiterError(Exception):
    """The header does not determine the delimiter.

    todo  what to do about it
    """

    def __init__(self, why: str, todo: str) -> None:
        super().__init__(why)
        self.todo = todo


def find_header(text: bytes, *, is_last: bool) -> HeaderPlace | None:
    r"""Find the header; None if `text` ends before the end of the header.

    is_last  `text` is the whole file: the header may lack its line end, and None means no header

    >>> find_header(b'sep=;\n\nid;"a\nb"\n1;2\n', is_last=False)
    HeaderPlace(has_bom=False, sep=';', line=3, blank_lines=1, start_byte=7, end_byte=16)
    """
    if len(text) < len(BOM) and not is_last:
        return None
    has_bom = text.startswith(BOM)
    start, line, sep, blank_lines = len(BOM) if has_bom else 0, 1, None, 0
    while start < len(text):
        end = _line_end(text, start, is_last=is_last)
        if end is None:
            return None
        first = text[start:end].strip(b"\r\n")
        if line == 1 and (found := _SEP_LINE.fullmatch(first)):
            sep = found[1].decode(errors="replace")
        elif first.strip(_BLANKS):
            record_end = _record_end(text, start, is_last=is_last)
            if record_end is None:
                return None
            return HeaderPlace(
                has_bom=has_bom,
                sep=sep,
                line=line,
                blank_lines=blank_lines,
                start_byte=start,
                end_byte=record_end,
            )
        else:
            blank_lines += 1
        start, line = end, line + 1
    return None


def find_delimiter(header: bytes, *, sep: str | None, setting: str | None) -> str:
    r"""The delimiter of a file with this header record.

    sep      from a `sep=` line; None without one
    setting  from the settings; None detects it from the header
    raises   DelimiterError; QuoteError for an unclosed quote

    >>> find_delimiter(b'id;"a,b";c\n', sep=None, setting=None)
    ';'
    """
    if sep is not None and sep not in DELIMITERS:
        raise DelimiterError(f"sep={sep} is not a known delimiter", "Export again")
    if sep is not None and setting is not None and sep != setting:
        raise DelimiterError(
            f"the file has sep={sep}, the settings have {setting!r}", "Remove the setting"
        )
    if header.count(QUOTE) % 2:
        whole_records(header, ",", is_last=True)
    outside = b"".join(header.split(QUOTE)[::2]).decode(errors="replace")
    counts = Counter({mark: outside.count(mark) for mark in DELIMITERS if mark in outside})
    if known := sep or setting:
        if counts and known not in counts:
            raise DelimiterError(
                f"the header has no {known!r}, but {next(iter(counts))!r}",
                "Correct the delimiter that is stated, or the header",
            )
        return known
    if not counts:
        raise DelimiterError("no delimiter found in the header", _STATE_IT)
    return _most_frequent(counts)


def header_names(header: bytes, delimiter: str) -> tuple[str, ...]:
    r"""The names in a header record, exactly as written.

    Raises QuoteError, and UnicodeDecodeError.

    >>> header_names(b'id," a;b "\r\n', ",")
    ('id', ' a;b ')
    """
    plain = whole_records(header, delimiter, is_last=True).plain.decode()
    line = plain.removesuffix("\n").removesuffix("\r")
    protected = str.maketrans(stand_ins(delimiter))
    return tuple(name.translate(protected) for name in line.split(delimiter))


def _line_end(text: bytes, start: int, *, is_last: bool) -> int | None:
    found = text.find(b"\n", start)
    if found >= 0:
        return found + 1
    return len(text) if is_last else None


def _record_end(text: bytes, start: int, *, is_last: bool) -> int | None:
    """The byte after the first line end outside quotes; None if the text ends before it."""
    end = _line_end(text, start, is_last=is_last)
    while end is not None and text.count(QUOTE, start, end) % 2:
        if end == len(text):
            return end if is_last else None
        end = _line_end(text, end, is_last=is_last)
    return end


def _most_frequent(counts: Counter[str]) -> str:
    (best, most), *others = counts.most_common()
    if others and others[0][1] == most:
        raise DelimiterError(f"the header has as many {best!r} as {others[0][0]!r}", _STATE_IT)
    return best
