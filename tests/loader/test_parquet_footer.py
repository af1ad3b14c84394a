"""Footers read by ourselves: whatever the bytes, an answer or one kind of error, and soon."""

import base64
import io
from contextlib import suppress
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loader.arrow_zones import in_utc, offset
from pipeline.loader.parquet_footer import Footer, FooterError, chunks, key_values, read_footer
from pipeline.store.thrift import ThriftError, ThriftReader


def footer_of(table: pa.Table, **options: object) -> bytes:
    stored = io.BytesIO()
    pq.write_table(table, stored, **options)
    data = stored.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


AT = pa.array([datetime(2026, 11, 23, tzinfo=UTC)])
TABLE = pa.table(
    {
        "a": ["x"],
        "b": AT.cast(pa.timestamp("us", "+05:30")),
        "c": [[{"d": 1}]],
        "e": AT.cast(pa.timestamp("us", "Europe/Berlin")),
        "f": AT.cast(pa.timestamp("us", "-0800")),
    }
)
FOOTER = footer_of(TABLE)


def test_names_rows_and_leaves_are_known() -> None:
    footer = read_footer(FOOTER)
    assert [(node.name, len(node.leaves)) for node in footer.columns] == [
        *(("a", 1), ("b", 1), ("c", 1), ("e", 1), ("f", 1))
    ]
    assert footer.rows == 1
    assert footer.offsets == {"b": "+05:30", "f": "-08:00"}
    assert "ARROW:schema" in key_values(FOOTER)


def test_what_row_groups_hold_of_each_leaf_is_known() -> None:
    table = pa.table({"a": ["x" * 1000, None, "y"], "b": [[{"c": 1, "d": "z"}]] * 3})
    stored = io.BytesIO()
    pq.write_table(table, stored, row_group_size=2)
    metadata = pq.read_metadata(stored)
    stated = [
        (leaf, column.num_values, column.total_uncompressed_size)
        for group in range(metadata.num_row_groups)
        for leaf in range(metadata.num_columns)
        for column in [metadata.row_group(group).column(leaf)]
    ]
    assert len(stated) == 6
    data = stored.getvalue()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    assert [tuple(each) for each in chunks(footer)] == stated


def test_a_text_where_a_number_belongs_is_no_footer() -> None:
    footer = b"\x29\x1c\x48\x01r\x00\x18\x03abc\x00"  # the schema: a root; the rows: "abc"
    with pytest.raises(FooterError, match="abc"):
        read_footer(footer)


@given(st.data())
def test_whatever_the_footer_its_row_groups_are_read_or_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(FOOTER) - 1))
    damaged = FOOTER[:at] + data.draw(st.binary(max_size=3)) + FOOTER[at + 1 :]
    with suppress(FooterError):
        list(chunks(damaged))


def test_a_patched_footer_is_as_long_and_says_the_same_but_for_the_zones() -> None:
    before = read_footer(FOOTER)
    patched = bytearray(FOOTER)
    for patch in before.patches:
        patched[patch.at : patch.at + len(patch.new)] = patch.new
    after = read_footer(bytes(patched))
    assert len(patched) == len(FOOTER)
    assert (after.columns, after.rows, after.patches) == (before.columns, before.rows, ())
    schema = pa.ipc.read_schema(
        pa.py_buffer(base64.b64decode(key_values(bytes(patched))["ARROW:schema"]))
    )
    assert [schema.field(name).type.tz for name in "bef"] == ["UTC", "Europe/Berlin", "UTC"]


def test_a_footer_that_polars_takes_is_left_alone() -> None:
    stored = io.BytesIO()
    pl.DataFrame({"a": [datetime(2026, 1, 1, tzinfo=UTC)]}).write_parquet(stored)
    data = stored.getvalue()
    footer = read_footer(data[-8 - int.from_bytes(data[-8:-4], "little") : -8])
    assert footer.patches == ()


def test_members_that_are_there_twice_are_found() -> None:
    struct = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
    assert read_footer(footer_of(pa.table({"a": struct}))).columns[0].twice == "x"


def outcome(data: bytes) -> Footer | None:
    try:
        return read_footer(data)
    except FooterError:
        return None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_footer_or_none(data: bytes) -> None:
    outcome(data)


@given(
    flips=st.lists(
        st.tuples(st.integers(0, len(FOOTER) - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
    cut=st.integers(0, len(FOOTER)),
)
def test_a_damaged_footer_is_a_footer_or_none(flips: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(FOOTER)
    for at, byte in flips:
        data[at] = byte
    for damaged in (bytes(data), bytes(data[:cut])):
        footer = outcome(damaged)
        assert footer is None or all(p.at + len(p.new) <= len(damaged) for p in footer.patches)


@pytest.mark.parametrize(
    "data",
    [
        b"\x19\xfc\xff\xff\xff\xff\x0f",  # a list of four milliards of structs
        b"\x18\xff\xff\xff\xff\x0f",  # a text of as many bytes
        b"\x1c" * 10_000,  # structs in structs
        b"\x16" + b"\xff" * 10_000,  # a number without end
        b"\x1e\x00",  # no such type
        b"",
    ],
    ids=["a list", "a text", "nested", "a number", "a type", "nothing"],
)
def test_what_is_no_thrift_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(ThriftError):
        ThriftReader(data).struct()


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("+05:30", "+05:30"),
        ("-0330", "-03:30"),
        ("+01", "+01:00"),
        ("+24:00", None),
        ("UTC", None),
        ("Europe/Berlin", None),
    ],
)
def test_an_offset_is_distinguished_from_a_name(zone: str, expected: str | None) -> None:
    assert offset(zone) == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_an_arrow_schema_or_none(data: bytes) -> None:
    assert in_utc(data) is None
    assert in_utc(base64.b64encode(data)) is None or len(data) > 8
