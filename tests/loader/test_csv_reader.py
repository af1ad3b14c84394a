import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loader.columns import MAX_COLUMNS, MAX_RECORD_BYTES
from pipeline.loader.csv_reader import CsvReader
from pipeline.model import MAX_CELL_BYTES, InputError

Rows = list[tuple[object, ...]]


def pieces(text: bytes, size: int) -> Iterator[bytes]:
    return (text[at : at + size] for at in range(0, len(text), size))


def read(text: bytes, size: int = 1 << 20, delimiter: str | None = None) -> tuple[CsvReader, Rows]:
    reader = CsvReader(pieces(text, size), file="a.csv", delimiter=delimiter, recode="iconv")
    return reader, [row for frame in reader.frames() for row in frame.rows()]


def refusal(text: bytes, size: int = 1 << 20, delimiter: str | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read(text, size, delimiter)
    return caught.value


WELL = [  # text, (row, line, cells...) of each record
    (b"a,b\n1,2\n", [(1, 2, "1", "2")]),
    (b"a,b\n1,2", [(1, 2, "1", "2")]),  # the last line end may lack
    (b"a,b\r\n1,2\r\n", [(1, 2, "1", "2")]),
    (b"a,b\n1,2\r\n3,4\n", [(1, 2, "1", "2"), (2, 3, "3", "4")]),  # mixed line ends
    (b"\xef\xbb\xbfa,b\n1,2\n", [(1, 2, "1", "2")]),  # Excel's CSV UTF-8
    (b"sep=;\r\na;b\r\n1;2,3\r\n", [(1, 3, "1", "2,3")]),  # French Excel
    (b"\xef\xbb\xbfSEP=\t\na\tb\n1\t2\n", [(1, 3, "1", "2")]),
    (b'"sep=;"\na;b\n1;2\n', [(1, 3, "1", "2")]),
    (b"a|b\n1|2\n", [(1, 2, "1", "2")]),
    (b'"a;b;c",d\n1,2\n', [(1, 2, "1", "2")]),  # delimiters in quotes do not count
    (b"\n \n;;\na;b\n\n;\n1;2\n  \n3;4\n\n", [(1, 7, "1", "2"), (2, 9, "3", "4")]),  # blank lines
    (b'a,b\n"x\ny","z\r\nw"\n1,2\n', [(1, 2, "x\ny", "z\r\nw"), (2, 5, "1", "2")]),
    (b'a,b\n"x ""y"" z",""""\n', [(1, 2, 'x "y" z', '"')]),
    (b'a,b\n"",""\n" ",\n', [(1, 2, "", ""), (2, 3, " ", "")]),  # quoted, so not a blank line
    (b"a,b\n 1 ,\t2\n", [(1, 2, " 1 ", "\t2")]),  # blanks stay
    (b"a,,b,\n1,,2,\n", [(1, 2, "1", "2")]),  # wholly empty columns without a name
    ("ä,ö\n€,😀\n".encode(), [(1, 2, "€", "😀")]),
    (b"a,b\n", []),
    (b"a,b", []),
    (b"a,b\n,2\n", [(1, 2, "", "2")]),
]


@pytest.mark.parametrize(("text", "rows"), WELL)
def test_well_formed_text_is_read_wherever_chunks_end(text: bytes, rows: Rows) -> None:
    for size in range(1, len(text) + 1):
        assert read(text, size)[1] == rows


FAULTS = [  # text, row, line, part of the message
    (b"", None, None, "no header"),
    (b"\xef\xbb\xbf", None, None, "no header"),
    (b"\n ;; \n\n", None, None, "no header"),
    (b"a\n1\n", None, 1, "no delimiter found"),
    (b"a,b;c\n1,2;3\n", None, 1, "as many ',' as ';'"),
    (b"sep=:\na:b\n", None, 2, "sep=: is not a known delimiter"),
    (b"sep=;\na,b\n", None, 2, "the header has no ';', but ','"),
    (b"a,b,a\n1,2,3\n", None, 1, "columns 1 and 3"),
    (b"a, a \n1,2\n", None, 1, "columns 1 and 2"),
    (b"__row,b\n1,2\n", None, 1, "reserved for the row numbers"),
    (b"a, __line\n1,2\n", None, 1, "reserved for the row numbers"),
    (b"a,\n1,\n3,4\n", 2, 3, "column 2 has no name"),
    (b"a,b\n1,2\n3\n", 2, 3, "the record has 1 field, the header 2"),  # a short row
    (b"a,b\n1,2\n3,4,5\n", 2, 3, "the record has 3 fields, the header 2"),
    (b"a,b\n1,2\n\n3,4\n5", 3, 5, "is it cut?"),  # the last line cut
    (b'a,b\n1,2\n3,"4\n5,6\n', 2, 3, "the quote opened on line 3 is never closed"),
    (b'a,b\n1,"2\n3,"4"\n', 1, 2, "the cell that a quote on line 2 opens"),  # one quote is missing
    (b'a,b\n"1","2\n"3","4"\n', 1, 2, "the cell that a quote on line 2 opens"),
    (b'a,b\n1,2\n3,x"y\n', 2, 3, "a quote inside a cell"),  # the csv module takes it
    (b'a,b\n1,2\n3, "y"\n', 2, 3, "a quote inside a cell"),
    (b'a,b\n1,2\n"x"y,4\n', 2, 3, "text after the closing quote"),
    (b'a,b\n1,2\n"x" ,4\n', 2, 3, "text after the closing quote"),
    (b'a,b\n1,"x\ny"z\n', 1, 2, "text after the closing quote"),
    (b'"a,b\n1,2\n', None, 1, "the quote opened on line 1 is never closed"),
    (b'a",b\n1,2\n', None, 1, "quote"),
    (b"a,b\n1,2\n3,\x00\n", 2, 3, "a NUL byte at offset 10"),
    (b"a,b\n1,2\n3,\x1b[0m\n", 2, 3, "an escape character"),
    (b'a,b\n1,"2\n\x0b"\n', 1, 2, "a vertical tab"),
    (b"a\x00,b\n1,2\n", None, 1, "a NUL byte at offset 1"),
    (b"a,b\n1,2\n3,\xe9t\xe9\n", 2, 3, "byte 0xE9 at offset 10 is not UTF-8"),
    (b'a,b\n1,"2\n\xff"\n', 1, 2, "0xFF"),
    (b"a,b\n1,2\n3,\xe2\x82", 2, 3, "0xE2"),  # cut within a character
    (b"\xc4,b\n1,2\n", None, 1, "0xC4 at offset 0"),
    (b"a,b\n1,2\n3,\xc0\xaf\n", 2, 3, "0xC0"),  # an overlong form
    (b"a,b\r1,2\r3,4\r", None, 1, "carriage return"),  # old Mac
    (b"a,b\n1,2\n3\r,4\n", 2, 3, "carriage return"),
    (b"a,b\n1,2\r\r\n", 1, 2, "carriage return"),
    (b"a,b\n1,2\n,\r", 2, 3, "carriage return"),
]


@pytest.mark.parametrize(("text", "row", "line", "part"), FAULTS)
def test_a_fault_has_its_position_wherever_chunks_end(
    text: bytes, row: int | None, line: int | None, part: str
) -> None:
    for size in (*range(1, 12), 1 << 20):
        error = refusal(text, size)
        fault = error.faults[0]
        assert (fault.file, fault.row, fault.line) == ("a.csv", row, line), size
        assert part in str(error)


def test_the_first_fault_of_the_file_is_reported_first() -> None:
    text = b'a,b\n1,2,3\n4,\xff\n5,x"y\n6,\x00\n'
    assert "3 fields" in str(refusal(text))
    assert "0xFF" in str(refusal(text.replace(b"1,2,3", b"1,2")))


def test_at_most_five_faults_of_a_kind_are_reported() -> None:
    faults = refusal(b"a,b\n" + b"1,2\n1\n" * 9).faults
    assert [(fault.row, fault.line) for fault in faults] == [(n, n + 1) for n in (2, 4, 6, 8, 10)]


def test_a_value_is_shown_short_and_unchanged() -> None:
    fault = refusal(b'a,b\n"x, ""y""",' + b"z" * 500 + b",3\n").faults[0]
    assert fault.value is not None
    assert fault.value.startswith('\'x, "y",zzz')
    assert len(fault.value) <= 60


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_file_of_one_column_is_read_if_the_delimiter_is_stated(delimiter: str) -> None:
    reader, rows = read(b'id\nx\n""\n\n', delimiter=delimiter)
    assert (rows, reader.blank_lines) == ([(1, 2, "x"), (2, 3, "")], 1)


@pytest.mark.parametrize(
    ("text", "said", "part"),
    [
        (b"a;b\n1;2\n", ",", "the header has no ',', but ';'"),  # the settings do not fit
        (b"sep=;\na;b\n", ",", "the file has sep=;, the settings have ','"),
        (b"a;b;c,d\n", "|", "the header has no '|', but"),
    ],
)
def test_a_stated_delimiter_must_fit(text: bytes, said: str, part: str) -> None:
    assert part in str(refusal(text, delimiter=said))


def test_a_stated_delimiter_decides_where_the_header_cannot() -> None:
    assert read(b"a,b;c\n1,2;3\n", delimiter=",")[1] == [(1, 2, "1", "2;3")]


def test_facts_of_the_start() -> None:
    reader, _ = read(b'\xef\xbb\xbf a ;"b""c"\r\n\r\n;\r\n1;2\n')
    assert (reader.columns, reader.delimiter) == ((" a ", 'b"c'), ";")
    assert (reader.has_bom, reader.newline) == (True, "\r\n")
    assert (reader.rows, reader.blank_lines) == (1, 2)


def test_a_cell_may_be_longer_than_the_csv_module_takes() -> None:
    text = b'a,b\n1,"' + b"x," * 100_000 + b'"\n'
    assert len(str(read(text, 4096 * 16)[1][0][3])) == 200_000


def test_a_long_cell_is_not_a_fault_of_the_file() -> None:
    """Its row is invalid, unless the column is ignored."""
    (row,) = read(b"a,b\n1," + b"x" * (MAX_CELL_BYTES + 1) + b"\n")[1]
    assert len(str(row[3])) == MAX_CELL_BYTES + 1


PADDED = [  # what stands before 100 NUL bytes, row, line
    (b"a,b\n1,2\n", 2, 3),
    (b"a,b\n1,2\n3,4", 2, 3),  # in the middle of a record
    (b"a,b\n", 1, 2),
    (b"a,b", None, 1),  # in the header
    (b'a,b\n1,"x\n', 1, 2),  # in a quoted cell
]


@pytest.mark.parametrize(("text", "row", "line"), PADDED, ids=range(len(PADDED)))
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_nul_bytes_at_the_end_are_named(text: bytes, row: int | None, line: int, size: int) -> None:
    fault = refusal(text + bytes(100), size).faults[0]
    assert (fault.row, fault.line) == (row, line)
    assert f"a NUL byte at offset {len(text)}: the file ends in 100 NUL bytes" in fault.what
    assert "upload it again" in str(fault.todo)


def test_nul_bytes_before_more_text_are_not_padding() -> None:
    fault = refusal(b"a,b\n1,2\n" + bytes(100) + b"3,4\n").faults[0]
    assert fault.what == "a NUL byte at offset 8"


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        (b"a,b\n1,2\n3,4", True),
        (b"a,b\r\n1,2\r\n3,4", True),
        (b'a,b\n1,"2"', True),
        (b"a,b\n1,2\n", False),
        (b"a,b\n1,2\n  ", False),  # no record
        (b"a,b\n1,2\n,", False),
        (b"a,b", False),  # there is no other line
        (b"a,b\n", False),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_last_record_without_line_end_is_noticed(text: bytes, lacks: bool, size: int) -> None:  # noqa: FBT001
    assert read(text, size)[0].lacks_last_end is lacks


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'a,b\n="007",2\n', "007"),
        (b'a,b\n1,="00""7"\n', '00""7'),
        (b'a;b\n1;="x;y"\n', "x;y"),
        (b'="a",b\n1,2\n', "a"),  # the header too
    ],
)
def test_text_in_the_notation_of_a_spreadsheet_is_named(text: bytes, value: str) -> None:
    fault = refusal(text).faults[0]
    assert fault.what == "text in the notation of a spreadsheet"
    assert fault.expected == f"the value itself, {value!r}"


def test_a_name_of_any_length_is_shown_short() -> None:
    message = str(refusal(b"a," + b"x" * 2_000_000 + b"\n1,2\n"))
    assert "column 2 has a name of 2000000 characters" in message
    assert len(message) < 300


def test_the_number_of_columns_is_limited() -> None:
    names = [f"c{n}" for n in range(MAX_COLUMNS)]
    assert len(read(",".join(names).encode() + b"\n")[0].columns) == MAX_COLUMNS
    message = str(refusal(",".join([*names, '"x,y"']).encode() + b"\n"))
    assert "the header names 10001 columns: 'c0', 'c1', 'c2', 'c3', 'c4' and 9996 more" in message
    in_quotes = ",".join(f'"{name},"' for name in names[: MAX_COLUMNS // 2 + 1])
    assert len(read(in_quotes.encode() + b"\n")[0].columns) == MAX_COLUMNS // 2 + 1


@pytest.mark.parametrize(
    ("start", "part", "row"),
    [
        (b"", "longer than 8 MiB", None),
        (b"a,b\n", "longer than 8 MiB", 1),
        (b'a,b\n1,"', "not closed within 8 MiB", 1),
    ],
)
def test_text_without_line_ends_does_not_fill_the_memory(
    start: bytes, part: str, row: int | None
) -> None:
    read_bytes = 0

    def endless() -> Iterator[bytes]:
        nonlocal read_bytes
        yield start
        while True:
            read_bytes += 1 << 20
            yield b"x" * (1 << 20)

    with pytest.raises(InputError) as caught:
        list(CsvReader(endless(), file="a.csv").frames())
    assert part in str(caught.value)
    assert caught.value.faults[0].row == row
    assert read_bytes <= MAX_RECORD_BYTES + (2 << 20)


cells = st.text(
    st.one_of(
        st.sampled_from('",;|\t\n\r x'),
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]),
    ),
    max_size=6,
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[str]], dict[str, object]]:
    width = draw(st.integers(2, 4))
    rows = draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=6))
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    if line_end == "\n" and any("\r" in cell for row in rows for cell in row):
        quoting = csv.QUOTE_ALL  # older csv modules leave a lone CR unquoted
    delimiter = draw(st.sampled_from(",;|\t"))
    return rows, {"quoting": quoting, "delimiter": delimiter, "lineterminator": line_end}


@given(table=tables(), size=st.integers(1, 40), has_bom=st.booleans())
def test_what_the_csv_module_writes_comes_back_cell_by_cell(
    *, table: tuple[list[list[str]], dict[str, object]], size: int, has_bom: bool
) -> None:
    rows, style = table
    width = len(rows[0]) if rows else 2
    header = [f"c{place}" for place in range(width)]
    text, expected, blank_lines = io.StringIO(), [], 0
    writer = csv.writer(text, **style)  # type: ignore[arg-type]
    writer.writerow(header)
    for row in rows:
        before = text.tell()
        line = text.getvalue().count("\n") + 1
        writer.writerow(row)
        written = text.getvalue()[before:].removesuffix(str(style["lineterminator"]))
        if written.strip(f" \t{style['delimiter']}"):
            expected.append((len(expected) + 1, line, *row))
        else:
            blank_lines += 1
    reader, found = read(
        b"\xef\xbb\xbf" * has_bom + text.getvalue().encode(), size, str(style["delimiter"])
    )
    assert found == expected
    assert (reader.rows, reader.blank_lines) == (len(expected), blank_lines)


@given(st.binary(max_size=60), st.integers(1, 20))
def test_any_bytes_are_read_or_refused_the_same_way_in_any_chunks(tail: bytes, size: int) -> None:
    def outcome(size: int) -> object:
        try:
            return read(b'a,b\n1,"2"\n' + tail, size)[1]
        except InputError as error:
            fault = error.faults[0]
            return fault.row, fault.line, fault.what

    assert outcome(size) == outcome(1 << 20)
