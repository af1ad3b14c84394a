"""The strict CSV reader: takes chunks of text and returns frames of checked records.

Does no I/O. Checks and splits a chunk in bulk, never record by record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import NoReturn

import polars as pl

from pipeline.loader.cells import spreadsheet_text
from pipeline.loader.columns import (
    MAX_COLUMNS,
    MAX_RECORD_BYTES,
    check_names,
    is_unnamed,
    too_many_columns,
)
from pipeline.loader.csv_header import (
    DELIMITERS,
    DelimiterError,
    HeaderPlace,
    find_delimiter,
    find_header,
    header_names,
)
from pipeline.loader.csv_quotes import (
    NEWLINE_STAND_IN,
    QUOTE,
    CsvRecords,
    QuoteError,
    stand_ins,
    whole_records,
)
from pipeline.model import LINE_COLUMN, ROW_COLUMN, Fault, InputError
from pipeline.model.errors import shorten

_SHOWN_NAMES = 5
MAX_FAULTS = 5
"""Most faults of one kind in a message."""

_CONTROLS = bytes(c for c in (*range(32), 127) if c not in b"\t\n\r")
_CONTROL = re.compile(b"[" + re.escape(_CONTROLS) + b"]")
_SPREADSHEET_TEXT = re.compile(rb'"((?:[^"\n]|""){1,200})"')
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_TEXT = "text"


class CsvReader:
    """Reads and checks the records of one CSV text.

    chunks     pieces of the text; each is processed as a whole, so they must be small
    file       name of the file, for messages
    delimiter  None detects it from the header
    recode     command that converts the file to UTF-8, for a message

    The constructor reads the header and sets `delimiter`, `has_bom` and `newline` (the header's
    line end; those of records may differ). `frames` returns `__row`, `__line` and the named columns
    as text. After it, `rows`, `blank_lines` and `lacks_last_end` are final; the last is True if
    only the last record has no line end. Both raise InputError with the first fault of the file,
    and a few more of its kind.
    """

    unread: Mapping[str, tuple[str, str]] = MappingProxyType({})
    zoneless: tuple[str, ...] = ()
    offsets: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        chunks: Iterable[bytes],
        *,
        file: str,
        delimiter: str | None = None,
        recode: str | None = None,
    ) -> None:
        self.rows = 0
        self.blank_lines = 0
        self.lacks_last_end = False
        self._chunks = iter(chunks)
        self._file = file
        self._recode = recode
        self._text = b""  # read, but not split into records yet
        self._at_byte = 0  # where `_text` starts in the file
        self._line = 1  # line on which `_text` starts
        self._is_in_header = True
        self._has_ended = False
        self._refused = (
            b""  # faulty bytes after `_text`; reported once the records before them are read
        )
        place = self._find_header()
        self._drop(place.start_byte)
        self.blank_lines = place.blank_lines
        header = self._text[: place.end_byte - place.start_byte]
        self.has_bom = place.has_bom
        self.newline = "\r\n" if header.endswith(b"\r\n") else "\n"
        self.delimiter, self._names = self._read_header(header, place.sep, delimiter)
        self._is_in_header = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The exact names of the named columns. Columns without a name must be empty."""
        return tuple(name for name in self._names if not is_unnamed(name))

    @property
    def schema(self) -> pl.Schema:
        """The schema of the frames."""
        numbers = {ROW_COLUMN: pl.Int64, LINE_COLUMN: pl.Int64}
        return pl.Schema({**numbers, **dict.fromkeys(self.columns, pl.String)})

    def frames(self) -> Iterator[pl.DataFrame]:
        """The records in order; one frame per chunk, if it completes a record."""
        while not self._has_ended:
            self._read_more()
            records = self._whole_records(is_last=self._has_ended)
            if records.used_bytes:
                yield self._frame(records)

    # Chunks ------------------------------------------------------------------------------------

    def _read_more(self) -> None:
        if self._refused:
            self._refuse_control()
        chunk = next(self._chunks, None)
        if chunk is None:
            self._has_ended = True
        elif len(chunk.translate(None, _CONTROLS)) == len(chunk):
            self._text += chunk
        elif found := _CONTROL.search(chunk):
            self._text += chunk[: found.start()]
            self._refused = chunk[found.start() :]

    def _whole_records(self, *, is_last: bool) -> CsvRecords:
        try:
            records = whole_records(self._text, self.delimiter, is_last=is_last)
        except QuoteError as error:
            self._refuse_quote(error)
        if not records.used_bytes and len(self._text) > MAX_RECORD_BYTES:
            self._refuse_length()
        return records

    def _drop(self, used_bytes: int) -> None:
        self._line += self._text.count(b"\n", 0, used_bytes)
        self._at_byte += used_bytes
        self._text = self._text[used_bytes:]

    # The header --------------------------------------------------------------------------------

    def _find_header(self) -> HeaderPlace:
        while (place := find_header(self._text, is_last=self._has_ended)) is None:
            if self._has_ended:
                raise self._error("there is no header", expected="the names of the columns")
            if len(self._text) > MAX_RECORD_BYTES:
                self._refuse_length()
            self._read_more()
        return place

    def _read_header(
        self, header: bytes, sep: str | None, setting: str | None
    ) -> tuple[str, tuple[str, ...]]:
        """The delimiter and the exact names, including blank ones. Drops the header."""
        line = self._line
        try:
            known = find_delimiter(header, sep=sep, setting=setting)
            self._check_count(header, known)
            names = header_names(header, known)
        except UnicodeDecodeError as error:
            self._refuse_byte(error.start)
        except QuoteError as error:
            self._refuse_quote(error)
        except DelimiterError as error:
            raise self._error(
                str(error),
                line=line,
                value=shorten(header.decode(errors="replace").rstrip("\r\n")),
                expected="names with , ; tab or | between them",
                todo=error.todo,
            ) from None
        if any("\r" in name for name in names) and (found := _LONE_RETURN.search(header)):
            self._refuse_return(None, line, found.start())
        check_names(names, self._file, line)
        self._drop(len(header))
        return known, names

    def _check_count(self, header: bytes, delimiter: str) -> None:
        """Raise InputError for more than MAX_COLUMNS columns."""
        if header.count(delimiter.encode()) < MAX_COLUMNS:
            return
        if found := _LONE_RETURN.search(header):  # then `header` is the whole file
            self._refuse_return(None, self._line, found.start())
        plain = whole_records(header, delimiter, is_last=True).plain
        count = plain.count(delimiter.encode()) + 1
        if count > MAX_COLUMNS:
            first = plain.split(delimiter.encode(), _SHOWN_NAMES)[:_SHOWN_NAMES]
            names = [shorten(name.decode(errors="replace"), most=30) for name in first]
            raise too_many_columns(count, names, self._file, self._line)

    # Records -----------------------------------------------------------------------------------

    def _frame(self, records: CsvRecords) -> pl.DataFrame:
        """The records as a frame. Drops them from the text."""
        try:
            plain = records.plain
            text = (plain.replace(b"\r\n", b"\n") if b"\r" in plain else plain).decode()
        except UnicodeDecodeError:
            self._refuse_encoding(records.used_bytes)
        lines = self._numbered(text, has_stand_ins=records.is_quoted)
        is_open = self._has_ended and not text.endswith("\n")
        self._check_shape(lines, is_cut=is_open)
        self.lacks_last_end = is_open and bool(
            text.rpartition("\n")[2].strip(self.delimiter + " \t")
        )
        frame = self._split(lines, text if records.is_quoted else "")
        self._drop(records.used_bytes)
        self.rows += frame.height
        return frame

    def _numbered(self, text: str, *, has_stand_ins: bool) -> pl.DataFrame:
        """`__row`, `__line` and the text of each record."""
        lines = pl.Series(_TEXT, [text.removesuffix("\n")]).str.split("\n").explode()
        numbers = pl.int_range(self._line, self._line + len(lines), eager=True)
        if has_stand_ins and NEWLINE_STAND_IN in text:
            inside = lines.str.count_matches(NEWLINE_STAND_IN, literal=True).cast(pl.Int64)
            numbers += inside.cum_sum() - inside
        frame = pl.DataFrame([numbers.alias(LINE_COLUMN), lines])
        is_blank = lines.str.strip_chars(self.delimiter + " \t") == ""
        if is_blank.any():
            self.blank_lines += int(is_blank.sum())
            frame = frame.filter(~is_blank)
        rows = pl.int_range(self.rows + 1, self.rows + 1 + frame.height, eager=True)
        return frame.insert_column(0, rows.alias(ROW_COLUMN))

    def _check_shape(self, lines: pl.DataFrame, *, is_cut: bool) -> None:
        """Raise InputError for a lone carriage return or a wrong number of fields."""
        text = lines[_TEXT]
        if (returns := text.str.contains("\r", literal=True)).any():
            row, line, *_ = lines.filter(returns).row(0)
            self._refuse_return(row, line, None)
        found = text.str.count_matches(self.delimiter, literal=True) + 1
        is_ragged = found != len(self._names)
        if is_ragged.any():
            ragged = lines.with_columns(found.alias("found")).filter(is_ragged)
            self._refuse_fields(ragged, cut_row=self.rows + lines.height if is_cut else None)

    def _split(self, lines: pl.DataFrame, quoted: str) -> pl.DataFrame:
        """Split records into columns.

        quoted  their text if it may hold stand-ins, else empty
        """
        fields = lines[_TEXT].str.split_exact(self.delimiter, len(self._names) - 1)
        cells = fields.struct.unnest().select(
            self._restored(pl.nth(place), quoted).alias(str(place))
            for place in range(len(self._names))
        )
        numbers = lines.select(ROW_COLUMN, LINE_COLUMN)
        self._check_unnamed(numbers, cells)
        return numbers.with_columns(
            cells[place].alias(name)
            for place, name in ((str(p), n) for p, n in enumerate(self._names))
            if not is_unnamed(name)
        )

    def _restored(self, cell: pl.Expr, quoted: str) -> pl.Expr:
        for stand_in, protected in stand_ins(self.delimiter).items():
            if stand_in in quoted:
                cell = cell.str.replace_all(stand_in, protected, literal=True)
        return cell

    def _check_unnamed(self, numbers: pl.DataFrame, cells: pl.DataFrame) -> None:
        """Raise InputError for a value in a column without a name."""
        for place, name in enumerate(self._names):
            cell = cells[str(place)]
            if is_unnamed(name) and (filled := cell != "").any():
                row, line = numbers.filter(filled).row(0)
                raise self._error(
                    f"column {place + 1} has no name in the header, but a cell here",
                    row=row,
                    line=line,
                    value=shorten(cell.filter(filled)[0]),
                    todo="Name the column, or empty it",
                )

    # Faults ------------------------------------------------------------------------------------

    def _skip_to(self, byte: int) -> int | None:
        """Check the records before a fault, which may have earlier faults.

        Afterwards `_line` is the first line of the record with the fault. Returns the row of that
        record; None if the fault is in the header.
        """
        self._text = self._text[:byte]
        if self._is_in_header:
            return None
        if (records := self._whole_records(is_last=False)).used_bytes:
            self._frame(records)
        return self.rows + 1

    def _refuse_control(self) -> NoReturn:
        what = f"{_control_name(self._refused[0])} at offset {self._at_byte + len(self._text)}"
        padding_bytes = self._padding_bytes()
        row = self._skip_to(len(self._text))
        if padding_bytes:
            raise self._error(
                f"{what}: the file ends in {padding_bytes} NUL bytes",
                row=row,
                line=self._line_of_fault(),
                todo="Was it cut, or its space reserved and never written? Copy or upload it again",
            )
        raise self._error(
            what,
            row=row,
            line=self._line_of_fault(),
            expected="text; of the control characters only tabs and line ends",
            todo="Export the file again as UTF-8 text",
        )

    def _padding_bytes(self) -> int:
        """Number of NUL bytes from here to the end of the file; 0 if any other byte follows."""
        count = 0
        for chunk in chain((self._refused,), self._chunks):
            if chunk.strip(b"\0"):
                return 0
            count += len(chunk)
        return count

    def _refuse_encoding(self, used_bytes: int) -> NoReturn:
        try:
            self._text[:used_bytes].decode()
        except UnicodeDecodeError as error:
            self._refuse_byte(error.start)
        raise AssertionError("stand-ins for ASCII cannot break UTF-8")

    def _refuse_byte(self, at: int) -> NoReturn:
        byte, at_byte = self._text[at], self._at_byte + at
        near = self._text[max(0, at - 20) : at + 20].decode("cp1252", "replace")
        row = self._skip_to(at)
        raise self._error(
            f"byte 0x{byte:02X} at offset {at_byte} is not UTF-8",
            row=row,
            line=self._line_of_fault(),
            value=shorten(near),
            expected="UTF-8",
            todo=f"If it is Windows-1252 or Latin-1: {self._recode}" if self._recode else None,
        )

    def _refuse_quote(self, error: QuoteError) -> NoReturn:
        near = self._text[max(0, error.at_byte - 20) : error.at_byte + 30].decode(errors="replace")
        if error.is_stray and (found := self._spreadsheet_text(error.at_byte)) is not None:
            self._refuse_spreadsheet_text(error.at_byte, found)
        row = self._skip_to(error.at_byte)
        opened = self._line + self._text.count(b"\n")
        if error.is_stray:
            what = "a quote inside a cell that does not begin with one"
            todo = 'Put the whole cell in quotes and write each quote in it as ""'
        elif error.is_closed:
            what = f"text after the closing quote of the cell that a quote on line {opened} opens"
            todo = f'Write a quote inside a cell as "", or close the cell of line {opened}'
        else:
            what = f"the quote opened on line {opened} is never closed"
            todo = "Close it, or was the file cut here?"
        raise self._error(what, row=row, line=self._line_of_fault(), value=shorten(near), todo=todo)

    def _spreadsheet_text(self, at: int) -> str | None:
        """The quoted text if the cell of the quote at `at` is `="..."`, else None."""
        before = self._text[max(0, at - 2) : at]
        is_formula = before[-1:] == b"=" and before[:-1] in {
            b"",
            b"\n",
            *map(str.encode, DELIMITERS),
        }
        found = _SPREADSHEET_TEXT.match(self._text, at) if is_formula else None
        return found[1].decode(errors="replace") if found else None

    def _refuse_spreadsheet_text(self, at: int, value: str) -> NoReturn:
        why = spreadsheet_text(value)
        row = self._skip_to(at)
        raise self._error(
            why.what,
            row=row,
            line=self._line_of_fault(),
            value=shorten(f'="{value}"'),
            expected=why.expected,
            todo=why.todo,
        )

    def _refuse_length(self) -> NoReturn:
        if self._is_in_header and (found := _LONE_RETURN.search(self._text[:MAX_RECORD_BYTES])):
            self._refuse_return(None, self._line, found.start())
        most = f"{MAX_RECORD_BYTES >> 20} MiB"
        is_open = self._text.count(QUOTE) % 2
        raise self._error(
            f"a quote opened here is not closed within {most}"
            if is_open
            else f"the record is longer than {most}",
            row=None if self._is_in_header else self.rows + 1,
            line=self._line,
            value=shorten(self._text[:60].decode(errors="replace")),
            todo="Is a closing quote missing?" if is_open else "Are these lines of text?",
        )

    def _refuse_return(self, row: int | None, line: int, at: int | None) -> NoReturn:
        raise self._error(
            "a carriage return (CR) without a line feed (LF) behind it",
            row=row,
            line=line,
            value=shorten(self._text[max(0, at - 20) : at + 20].decode(errors="replace"))
            if at is not None
            else None,
            expected="lines that end in LF or CR LF",
            todo="If the line ends are CR alone, convert them: tr '\\r' '\\n' < OLD > NEW",
        )

    def _refuse_fields(self, ragged: pl.DataFrame, *, cut_row: int | None) -> NoReturn:
        names = len(self._names)
        protected = str.maketrans(stand_ins(self.delimiter))
        faults = []
        for row, line, text, found in ragged.head(MAX_FAULTS).iter_rows():
            is_cut = row == cut_row and found < names
            faults.append(
                Fault(
                    what=f"the record has {found} {'field' if found == 1 else 'fields'}, "
                    f"the header {names}",
                    file=self._file,
                    row=row,
                    line=line,
                    value=shorten(text.translate(protected)),
                    todo="The file ends in this record: is it cut?" if is_cut else None,
                )
            )
        raise InputError(faults)

    def _line_of_fault(self) -> int:
        """The line of the fault in the header; for a record, the line on which it starts."""
        return self._line + (self._text.count(b"\n") if self._is_in_header else 0)

    def _error(  # one place for the name of the file
        self,
        what: str,
        *,
        row: int | None = None,
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
        expected: str | None = None,
        todo: str | None = None,
    ) -> InputError:
        return InputError(
            Fault(
                what=what,
                file=self._file,
                row=row,
                line=line,
                column=column,
                value=value,
                expected=expected,
                todo=todo,
            )
        )


def _control_name(code: int) -> str:
    names = {0: "a NUL byte", 11: "a vertical tab", 12: "a form feed", 27: "an escape character"}
    return names.get(code, f"the control character 0x{code:02X}")
