"""Every rule for cells, a reason per row."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loader.cell_error import CellError
from pipeline.loader.cells import (
    Absent,
    CellContext,
    _CellCache,
    cell_reader,
    column_reader,
)
from pipeline.loader.strict_json import MAX_CHARS, MAX_LEVELS
from pipeline.model import BeyondCalendar, Cell, CellKind, TooLong

BERLIN = ZoneInfo("Europe/Berlin")
NOT_GIVEN, OMITTED = Absent.NOT_GIVEN, Absent.OMITTED


def pairs(text: str) -> list[dict[str, Any]]:
    """`a:1, b:2`."""
    if ":" not in text:
        raise ValueError("expected name:count")
    return [dict([part.split(":")]) for part in text.split(",")]


CELLS = {kind: Cell(kind) for kind in CellKind} | {CellKind.LIST: Cell(CellKind.LIST, short=pairs)}
ID, TEXT, KEYWORD = CellKind.ID, CellKind.TEXT, CellKind.KEYWORD
INTEGER, BOOLEAN, DATE = CellKind.INTEGER, CellKind.BOOLEAN, CellKind.DATE
MAP, LIST, OBJECT = CellKind.MAP, CellKind.LIST, CellKind.OBJECT


def read(kind: CellKind, cell: Any, **reading: Any) -> Any:
    return cell_reader(CELLS[kind], CellContext(**{"nullable": True, **reading}))(cell)


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        # absence, whatever the kind
        (TEXT, "", NOT_GIVEN),
        (TEXT, None, NOT_GIVEN),  # a Parquet null
        (INTEGER, " \u00a0\u200b", NOT_GIVEN),  # nothing but blanks
        (LIST, "", NOT_GIVEN),
        (ID, "omit", OMITTED),
        (TEXT, "omit", OMITTED),
        (LIST, " omit ", OMITTED),
        (INTEGER, "null", None),
        (TEXT, "null", None),
        (OBJECT, "null", None),
        # ids
        (ID, "007", "007"),  # zeros in front survive
        (ID, "\u00a0\ufeff SKU 7\u200b ", "SKU 7"),  # blanks around go, those inside stay
        (ID, "1E5", "1E5"),  # no spreadsheet writes an exponent without a sign
        (ID, "1.10", "1.10"),  # a version, not a float
        (ID, "coupon_44056_1", "coupon_44056_1"),
        (ID, "NA", "NA"),  # Namibia
        (ID, 111425, "111425"),  # an integer column of a Parquet file
        (ID, Decimal(111425), "111425"),  # NUMBER(38, 0)
        (ID, 2**63, str(2**63)),
        # free text is left alone
        (TEXT, "  two blanks  ", "  two blanks  "),
        (TEXT, "line\nand\ttab", "line\nand\ttab"),
        (TEXT, r"\N", r"\N"),
        (TEXT, "NULL", "NULL"),
        (TEXT, "'Tis the season", "'Tis the season"),
        (TEXT, "👩\u200d💻", "👩\u200d💻"),  # joined by a character without width
        (TEXT, 5, "5"),
        (KEYWORD, " eq\u00a0", "eq"),
        # whole numbers
        (INTEGER, "10", 10),
        (INTEGER, " -3 ", -3),
        (INTEGER, "+3", 3),
        (INTEGER, "007", 7),
        (INTEGER, "10.0", 10),  # pandas writes it
        (INTEGER, "10.00", 10),
        (INTEGER, "10.0000", 10),
        (INTEGER, "-0", 0),
        (INTEGER, "9223372036854775807", 2**63 - 1),
        (INTEGER, "-9223372036854775808", -(2**63)),
        (INTEGER, "0" * 5000 + "7", 7),
        (INTEGER, 10, 10),
        (INTEGER, 10.0, 10),
        (INTEGER, Decimal("10.00"), 10),
        (INTEGER, Decimal("1E+3"), 1000),
        # booleans
        (BOOLEAN, "true", True),
        (BOOLEAN, " false ", False),
        (BOOLEAN, True, True),
        # dates
        (DATE, "2026-12-31T18:00:00Z", "2026-12-31T18:00:00+00:00"),
        (DATE, "2026-12-31 18:00:00 UTC", "2026-12-31T18:00:00+00:00"),  # BigQuery
        (DATE, "2026-12-31 18:00:00.5 UTC", "2026-12-31T18:00:00.5+00:00"),
        (DATE, "2026-12-31 18:00:00 +0000", "2026-12-31T18:00:00+00:00"),  # Snowflake
        (DATE, "2026-12-31 18:00:00+01", "2026-12-31T18:00:00+01:00"),
        (DATE, "2026-12-31T18:00:00-0330", "2026-12-31T18:00:00-03:30"),
        (DATE, "2026-12-31T18:00:00+05:45", "2026-12-31T18:00:00+05:45"),
        (DATE, "2026-12-31t18:00z", "2026-12-31T18:00:00+00:00"),
        (DATE, "2026-12-31T18:00:00.120000000+01:00", "2026-12-31T18:00:00.12+01:00"),
        (DATE, "2026-12-31T18:00:00-00:00", "2026-12-31T18:00:00+00:00"),
        (DATE, datetime(2026, 12, 31, 18, tzinfo=UTC), "2026-12-31T18:00:00+00:00"),
        (DATE, datetime(2026, 7, 1, 18, tzinfo=BERLIN), "2026-07-01T18:00:00+02:00"),
        (
            DATE,
            datetime(2026, 7, 1, 18, 0, 0, 500_000, timezone(timedelta(hours=-3, minutes=-30))),
            "2026-07-01T18:00:00.5-03:30",
        ),
        # lists and objects
        (LIST, "[]", []),
        (LIST, ' [{"a": 1.50, "b": null}] ', [{"a": 1.5, "b": None}]),
        (LIST, '[\n\t{"a": 1}\r\n]\n', [{"a": 1}]),  # white space between tokens is JSON's own
        (LIST, "a:1,b:2", [{"a": "1"}, {"b": "2"}]),
        (LIST, [{"sku": "a", "quantity": None}], [{"sku": "a"}]),  # a struct cannot leave out
        (LIST, [Decimal(2), Decimal("0.10"), 2.5, True, None], [2, 0.1, 2.5, True, None]),
        (LIST, [datetime(2026, 1, 1, tzinfo=UTC)], ["2026-01-01T00:00:00+00:00"]),
        (LIST, [], []),
        (MAP, "{}", {}),
        (MAP, '{"en-US": "A\\u00e9"}', {"en-US": "Aé"}),
        (MAP, {"en-US": "A", "de-DE": None}, {"en-US": "A"}),
        (OBJECT, '{"per_user": null}', {"per_user": None}),
    ],
)
def test_a_good_cell_is_read(kind: CellKind, cell: Any, expected: Any) -> None:
    value = read(kind, cell)
    assert (type(value), value) == (type(expected), expected)


@pytest.mark.parametrize(
    ("kind", "cell", "what", "hint"),
    [
        # other programs' words for a missing value, in anything but free text
        (INTEGER, r"\N", "missing value", "null"),
        (LIST, r"\N", "missing value", "null"),  # a null condition gives a bonus on any purchase
        (DATE, "NULL", "missing value", "null"),
        (DATE, "Null", "missing value", "null"),
        (INTEGER, "NaN", "missing value", "null"),
        (INTEGER, "nan", "missing value", "null"),
        (KEYWORD, "None", "missing value", "null"),
        (ID, "#N/A", "missing value", "null"),
        (ID, "<NA>", "missing value", "null"),
        (ID, "#REF!", "spreadsheet formula", None),
        # control characters
        (TEXT, "a\x00b", "control character (U+0000)", None),
        (TEXT, "a\x93b", "control character (U+0093)", None),  # Windows-1252 read as Latin-1
        (ID, "a\tb", "control character", None),
        (ID, "SKU\n", "control character", None),
        (INTEGER, "1\n", "control character", None),
        (LIST, '["a\tb"]', "not JSON", None),
        (LIST, '["a\\u0000b"]', "control character", None),
        (MAP, '{"a\\u0001": 1}', "control character", None),
        (LIST, '["\\ud800"]', "control character", None),  # half of a pair cannot be sent
        (LIST, ["a\x01"], "control character", None),
        # damaged ids
        (ID, "1.23457E+15", "damaged by a spreadsheet", "digits"),
        (ID, "1,23457E+15", "damaged by a spreadsheet", "digits"),  # the same in German
        (ID, "1E+05", "damaged by a spreadsheet", "digits"),
        (ID, "111425.0", "damaged by a spreadsheet", "digits"),
        (ID, 111425.0, "an id that is a floating-point number", "Cast"),
        (ID, Decimal("111425.0"), "an id that is a decimal", "Cast"),
        (ID, True, "a boolean", None),
        (ID, datetime(2026, 1, 1, tzinfo=UTC), "a timestamp", None),
        (TEXT, 1.5, "a floating-point number", None),
        # whole numbers, and why not
        (INTEGER, "1E5", "not a whole number", "exponent"),
        (INTEGER, "1,5", "not a whole number", "comma"),
        (INTEGER, "1_000", "not a whole number", "separators"),
        (INTEGER, "1 000", "not a whole number", "separators"),
        (INTEGER, "1.5", "not a whole number", "decimals"),
        (INTEGER, "10.", "not a whole number", "decimals"),
        (
            INTEGER,
            "20.000",
            "an ambiguous number",
            "without separators",
        ),  # twenty, or twenty thousand
        (INTEGER, "20,000", "an ambiguous number", "without separators"),
        (INTEGER, "-1.234", "an ambiguous number", "without separators"),
        (INTEGER, "0.000", "an ambiguous number", "without separators"),
        (INTEGER, "1.234.567", "not a whole number", "separators"),
        # how a spreadsheet is told that a value is text
        (ID, '="007"', "notation of a spreadsheet", "the value alone"),
        (ID, "'007", "notation of a spreadsheet", "the value alone"),
        (INTEGER, '="5"', "notation of a spreadsheet", "the value alone"),
        (DATE, "'2026-12-31T18:00Z", "notation of a spreadsheet", "the value alone"),
        (KEYWORD, '="approved"', "notation of a spreadsheet", "the value alone"),
        (LIST, "'gold:1", "notation of a spreadsheet", "the value alone"),
        (ID, TooLong("xxx"), "the cell is too long", None),
        (DATE, TooLong("xxx"), "the cell is too long", None),
        (LIST, TooLong("xxx"), "the cell is too long", None),
        (LIST, BeyondCalendar("infinity"), "outside the years", "null"),
        (LIST, ["x" * (MAX_CHARS + 1)], "text of more than", None),
        (INTEGER, "\uff11\uff12", "not a whole number", "0 to 9"),  # full-width
        (INTEGER, "\u0661", "not a whole number", "0 to 9"),  # Arabic-Indic
        (INTEGER, "ten", "not a whole number", None),
        (INTEGER, "9223372036854775808", "beyond 64 bits", None),
        (INTEGER, "9" * 5000, "beyond 64 bits", None),
        (INTEGER, 2**63, "beyond 64 bits", None),
        (INTEGER, 1.5, "not a whole number", None),
        (INTEGER, float("nan"), "not a finite number", "null"),  # pandas' missing value
        (INTEGER, 1e18, "too large to be exact", None),
        (INTEGER, Decimal("1.5"), "not a whole number", "decimals"),
        (INTEGER, True, "a boolean", None),
        # booleans
        (BOOLEAN, "TRUE", "not a boolean", None),
        (BOOLEAN, "1", "not a boolean", None),
        (BOOLEAN, 1, "a whole number", None),
        # dates
        (DATE, "46353", "a number, not a date", "spreadsheet"),  # 2026-11-27 to Excel
        (DATE, "46353.75", "a number, not a date", "spreadsheet"),
        (DATE, 46353, "a whole number, not a date", None),
        (DATE, 46353.0, "a floating-point number, not a date", None),
        (DATE, "2026-12-31", "a date without a time", None),
        (DATE, date(2026, 12, 31), "a date without a time", None),
        (DATE, time(1), "a value of type time, not a date", None),
        (DATE, BeyondCalendar("infinity"), "1 to 9999 (infinity)", "null, or omit"),
        (DATE, BeyondCalendar("9 us since 1970"), "outside the years 1 to 9999", "null, or omit"),
        (DATE, "infinity", "1 to 9999 (infinity)", "null, or omit"),  # Postgres
        (DATE, "-Infinity", "1 to 9999 (-infinity)", "null, or omit"),
        (DATE, "2026-12-31 18:00:00 Europe/Berlin", "not a date and time in ISO 8601", None),
        (DATE, "2026-12-31 18:00:00 UTC+1", "not a date and time in ISO 8601", None),
        (DATE, "2026-12-31T18:00:00", "without an offset", "timezone"),
        (DATE, datetime(2026, 12, 31), "without an offset", "timezone"),  # noqa: DTZ001
        (DATE, "2026-02-30T18:00:00Z", "no such date", None),
        (DATE, "2026-02-01T24:00:00Z", "no such date", None),
        (DATE, "2026-02-01T18:00:00+24:00", "no such offset", None),
        (DATE, "31.12.2026 18:00", "not a date and time in ISO 8601", None),
        (DATE, "12/31/2026 18:00:00Z", "not a date and time in ISO 8601", None),
        (DATE, "\uff12\uff10\uff12\uff16-12-31T18:00:00Z", "not a date and time in ISO 8601", None),
        # JSON, strictly
        (LIST, '[{"a": 1, "a": 2}]', "same key twice", None),
        (LIST, "[NaN]", "not JSON", None),
        (LIST, "[-Infinity]", "not JSON", None),
        (LIST, "[1e999]", "beyond 64 bits", None),
        (LIST, "[9223372036854775808]", "beyond 64 bits", None),
        (LIST, "[" + "9" * 5000 + "]", "beyond 64 bits", None),
        (LIST, "[1,]", "not JSON", None),
        (LIST, "[1] x", "not JSON", None),
        (LIST, "[" * (MAX_LEVELS + 1) + "]" * (MAX_LEVELS + 1), "nested deeper", None),
        (LIST, "[" * 100_000, "nested deeper", None),
        (LIST, '["' + "x" * MAX_CHARS + '"]', "more than", None),
        (LIST, '{"a": 1}', "another kind", None),
        (MAP, "[]", "another kind", None),
        (MAP, "en-US", "does not start with {", None),
        (LIST, "elven_shield", "short form", None),
        (LIST, [float("nan")], "not a finite number", None),
        (LIST, [b"x"], "a value of type bytes", None),
        (LIST, {"a": 1}, "a struct", None),
        (MAP, [1], "a list", None),
    ],
)
def test_a_bad_cell_says_what_is_wrong(
    kind: CellKind, cell: Any, what: str, hint: str | None
) -> None:
    with pytest.raises(CellError) as caught:
        read(kind, cell)
    assert what in caught.value.what
    assert hint is None or hint in (caught.value.todo or "")


@pytest.mark.parametrize("kind", [k for k in CellKind if k is not TEXT])
def test_null_is_refused_where_the_field_cannot_be_null(kind: CellKind) -> None:
    with pytest.raises(CellError, match="null, but the field cannot be null"):
        read(kind, "null", nullable=False)


def test_free_text_that_cannot_be_null_may_be_the_word() -> None:
    assert read(TEXT, "null", nullable=False) == "null"


@pytest.mark.parametrize("cell", ["", None, "  "])
def test_an_empty_cell_may_be_configured_to_mean_null(cell: str | None) -> None:
    assert read(INTEGER, cell, empty_is_null=True) is None


def test_brackets_inside_text_do_not_count_as_levels() -> None:
    text = '["' + "[" * 200 + '"]'
    assert read(LIST, text) == ["[" * 200]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2026-07-01T18:00:00", "2026-07-01T18:00:00+02:00"),  # summer
        ("2026-01-01 18:00", "2026-01-01T18:00:00+01:00"),  # winter
        ("2026-01-01 18:00Z", "2026-01-01T18:00:00+00:00"),  # its own offset wins
        (datetime(2026, 7, 1, 18), "2026-07-01T18:00:00+02:00"),  # noqa: DTZ001
    ],
)
def test_a_date_without_offset_is_read_in_the_timezone(cell: Any, expected: str) -> None:
    assert read(DATE, cell, timezone=BERLIN) == expected


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("2026-03-29T02:30:00", "does not exist"),  # clocks go from 2 to 3
        ("2026-10-25T02:30:00", "happens twice"),  # clocks go from 3 to 2
        (datetime(2026, 10, 25, 2, 30), "happens twice"),  # noqa: DTZ001
        ("1800-01-01T00:00:00", "not in whole minutes"),  # local mean time
    ],
)
def test_a_time_that_a_clock_change_makes_ambiguous_is_refused(cell: Any, what: str) -> None:
    with pytest.raises(CellError) as caught:
        read(DATE, cell, timezone=BERLIN)
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        (INTEGER, "20.000", "20 or 20000"),
        (INTEGER, "-20,000", "-20 or -20000"),
        (INTEGER, "1.234", "1234, if you mean that"),
        (ID, '="007"', "the value itself, '007'"),
        (ID, "'007", "the value itself, '007'"),
    ],
)
def test_an_error_names_the_possible_meaning(kind: CellKind, cell: str, expected: str) -> None:
    with pytest.raises(CellError) as caught:
        read(kind, cell)
    assert expected in str(caught.value.expected)


def test_faults_of_a_column_are_in_place_of_values() -> None:
    values = column_reader(CELLS[DATE], CellContext(nullable=True))(["x", "null", "x", ""])
    assert [type(value) for value in values] == [CellError, type(None), CellError, Absent]


def test_a_column_may_have_more_different_cells_than_the_cache() -> None:
    cells = [f"[{number}]" for number in range(10_000)] * 2
    values = column_reader(CELLS[LIST], CellContext(nullable=True))(cells)
    assert values == [[number] for number in range(10_000)] * 2


def test_the_cache_of_a_column_is_bounded() -> None:
    kept = _CellCache(len)
    for number in range(10_000):
        assert kept[str(number)] == len(str(number))
    assert len(kept) <= 4_096
    assert kept["x" * 300] == 300
    assert "x" * 300 not in kept


@given(cell=st.text(), kind=st.sampled_from(list(CellKind)), nullable=st.booleans())
def test_no_text_breaks_the_reader(cell: str, kind: CellKind, *, nullable: bool) -> None:
    (value,) = column_reader(CELLS[kind], CellContext(nullable=nullable))([cell])
    assert value is None or isinstance(value, Absent | CellError | str | int | list | dict)


@given(number=st.integers(-(2**63), 2**63 - 1), zeros=st.sampled_from([0, 1, 2, 4]))
def test_every_64_bit_number_is_read_back(number: int, zeros: int) -> None:
    text = f"{number}.{'0' * zeros}" if zeros else str(number)
    assert read(INTEGER, text) == number


@given(
    moment=st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30))))
)
def test_a_timestamp_and_its_text_give_the_same(moment: datetime) -> None:
    expected = read(DATE, moment)
    assert read(DATE, moment.isoformat()) == expected
    assert datetime.fromisoformat(expected) == moment
