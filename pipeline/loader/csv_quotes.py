r"""The quotes of a CSV text taken out, strictly. Pure.

What a quote protects (delimiters, line ends, quotes) is replaced by stand-ins: control characters
that no input may contain. What is left has one record a line and one field between two
delimiters, so it can be split in bulk, and `stand_ins` tells what to put back.
"""

from __future__ import annotations

from dataclasses import dataclass

QUOTE = b'"'
NEWLINE_STAND_IN = "\x1e"
_DELIMITER_STAND_IN = "\x1f"
_QUOTE_STAND_IN = "\x1d"
_RETURN_STAND_IN = "\x1c"
_MARK = "\x1b"  # keeps a quoted blank cell apart from a blank line


def stand_ins(delimiter: str) -> dict[str, str]:
    r"""Each stand-in and what it stands for.

    >>> stand_ins(";")["\x1f"]
    ';'
    """
    return {
        _DELIMITER_STAND_IN: delimiter,
        NEWLINE_STAND_IN: "\n",
        _QUOTE_STAND_IN: '"',
        _RETURN_STAND_IN: "\r",
        _MARK: "",
    }


@dataclass(frozen=True, slots=True)
class CsvRecords:
    """The whole records at the start of a text.

    plain       without quotes, with stand-ins
    used_bytes  how much of the text they took
    is_quoted   whether there were quotes, so whether there may be stand-ins
    """

    plain: bytes
    used_bytes: int
    is_quoted: bool


class QuoteError(Exception):
    """A quote that is not where a quote may be.

    at_byte    offset of the cell's opening quote, or of the stray one
    is_closed  False for a quote that the text never closes
    is_stray   True for a quote inside an unquoted cell, False for text after a closing quote
    """

    def __init__(self, at_byte: int, *, is_closed: bool, is_stray: bool) -> None:
        super().__init__(f"a misplaced quote at byte {at_byte}")
        self.at_byte = at_byte
        self.is_closed = is_closed
        self.is_stray = is_stray


def whole_records(text: bytes, delimiter: str, *, is_last: bool) -> CsvRecords:
    r"""The whole records that `text`, which starts at a record's start, begins with.

    is_last   nothing follows: the last record needs no line end
    raises    QuoteError

    >>> whole_records(b'1,"a,b"\n2,"c', ",", is_last=False)
    CsvRecords(plain=b'1,a\x1fb\n', used_bytes=8, is_quoted=True)
    """
    if QUOTE not in text:
        used = len(text) if is_last else text.rfind(b"\n") + 1
        return CsvRecords(text[:used], used, is_quoted=False)
    parts = text.split(QUOTE)
    _check(parts, delimiter.encode())
    if is_last:
        if len(parts) % 2 == 0:
            raise QuoteError(_opened_at(parts, len(parts) - 1), is_closed=False, is_stray=False)
        used = len(text)
    else:
        parts, used = _cut_after_last_newline(parts)
    return CsvRecords(_plain(parts, delimiter.encode()), used, is_quoted=len(parts) > 1)


# Split at its quotes, a text alternates between parts outside (even) and inside (odd) of quotes.
# A quote written as two leaves an empty part outside between them.


def _check(parts: list[bytes], delimiter: bytes) -> None:
    """Every part outside must touch the quotes with a delimiter or a line end."""
    before_quote = (delimiter, b"\n")
    after_quote = (delimiter, b"\n", b"\r\n", b"\r")
    is_even = len(parts) % 2 == 1
    first, last = parts[0], parts[-1] if is_even else b""
    between = set(parts[2:-1:2]) - {b""}
    if (
        all(part.endswith(before_quote) and part.startswith(after_quote) for part in between)
        and (not first or first.endswith(before_quote))
        and (not last or last.startswith(after_quote))
    ):
        return
    for index in range(0, len(parts), 2):
        part = parts[index]
        if index and part and not part.startswith(after_quote):
            raise QuoteError(_opened_at(parts, index - 1), is_closed=True, is_stray=False)
        if part and index < len(parts) - 1 and not part.endswith(before_quote):
            raise QuoteError(_offset(parts, index + 1) - 1, is_closed=True, is_stray=True)


def _cut_after_last_newline(parts: list[bytes]) -> tuple[list[bytes], int]:
    for index in range((len(parts) - 1) // 2 * 2, -1, -2):
        end = parts[index].rfind(b"\n") + 1
        if end:
            return [*parts[:index], parts[index][:end]], _offset(parts, index) + end
    return [b""], 0


def _plain(parts: list[bytes], delimiter: bytes) -> bytes:
    quote = _QUOTE_STAND_IN.encode()
    mark = _MARK.encode()
    inside = quote.join(
        [part if part and not part.isspace() else part + mark for part in parts[1::2]]
    )
    inside = inside.replace(delimiter, _DELIMITER_STAND_IN.encode())
    inside = inside.replace(b"\n", NEWLINE_STAND_IN.encode())
    inside = inside.replace(b"\r", _RETURN_STAND_IN.encode())
    plain = parts.copy()
    if len(parts) > 1:
        plain[1::2] = inside.split(quote)
        plain[2:-1:2] = [part or quote for part in parts[2:-1:2]]
    return b"".join(plain)


def _opened_at(parts: list[bytes], inside: int) -> int:
    """Where the quote that opened the cell with the part `inside` stands."""
    while inside > 1 and not parts[inside - 1]:
        inside -= 2
    return _offset(parts, inside) - 1


def _offset(parts: list[bytes], index: int) -> int:
    return sum(map(len, parts[:index])) + index
