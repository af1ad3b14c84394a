r"""Removes the quotes of CSV text, strictly. Pure.

Quoted delimiters, line ends and quotes are replaced by stand-ins: control characters that no input
may contain. The result has one record per line and one field between two delimiters, so it can be
split in bulk. `stand_ins` maps each stand-in back.
"""

from __future__ import annotations

from dataclasses import dataclass

QUOTE = b'"'
NEWLINE_STAND_IN = "\x1e"
_DELIMITER_STAND_IN = "\x1f"
_QUOTE_STAND_IN = "\x1d"
_RETURN_STAND_IN = "\x1c"
_MARK = "\x1b"  # distinguishes a quoted blank cell from a blank line


def stand_ins(delimiter: str) -> dict[str, str]:
    r"""The original text of each stand-in.

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
    """The complete records at the start of a text.

    plain       without quotes, with stand-ins
    used_bytes  their length in the text
    is_quoted   True if there were quotes, so there may be stand-ins
    """

    plain: bytes
    used_bytes: int
    is_quoted: bool


class QuoteError(Exception):
    """A misplaced quote.

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
    r"""The complete records at the start of `text`.

    text      starts at the start of a record
    is_last   `text` ends the file: the last record needs no line end
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
# A doubled quote leaves an empty part outside.


def _check(parts: list[bytes], delimiter: bytes) -> None:
    """Raise QuoteError unless a delimiter or line end is between each quote and unquoted text."""
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
    """The offset of the quote that opens the cell containing part `inside`."""
    while inside > 1 and not parts[inside - 1]:
        inside -= 2
    return _offset(parts, inside) - 1


def _offset(parts: list[bytes], index: int) -> int:
    return sum(map(len, parts[:index])) + index
