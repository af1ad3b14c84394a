"""Spread fields: columns named after a member only, and the values in column order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from pipeline.loader.fields import field_at, fields_of, longest_pattern
from pipeline.loader.header import Empty, find_routing, plan_header
from pipeline.model import Cell, CellKind, InputError, InputSettings, UpdateJob
from tests.loader.bound_rows import Bind, operation


def _checked(changes: dict[str, Any]) -> dict[str, Any]:
    faults = [
        InitErrorDetails(
            type=PydanticCustomError("value", "expected true"), loc=(key,), input=value
        )  # type: ignore[typeddict-item]
        for key, value in changes.items()
        if value is False
    ]
    if faults:
        raise ValidationError.from_exception_data("changes", faults)
    if {"status", "/status"} <= changes.keys():
        raise ValueError("expected one of status and /status")
    return changes


class Change(UpdateJob):
    """Changes what its columns name."""

    gift_id: Annotated[str, Cell(CellKind.ID)]
    etag: Annotated[str, Cell(CellKind.ID)] = ""
    changes: Annotated[
        dict[str, Any],
        AfterValidator(_checked),
        Cell(
            CellKind.MAP,
            is_spread=True,
            members=(
                ("status", Cell(CellKind.KEYWORD)),
                ("note", Cell(CellKind.TEXT)),
                ("patch", Cell(CellKind.LIST)),
                ("limits", Cell(CellKind.OBJECT, members=(("most", Cell(CellKind.INTEGER)),))),
                ("/*", Cell(CellKind.TEXT)),
                ("/flags/*", Cell(CellKind.BOOLEAN)),
                ("remove:/*", Cell(CellKind.BOOLEAN)),
            ),
        ),
    ]


class Wish(UpdateJob):
    """The same where nothing need be changed."""

    gift_id: Annotated[str, Cell(CellKind.ID)]
    changes: Annotated[
        dict[str, Any],
        Cell(CellKind.MAP, is_spread=True, members=(("status", Cell(CellKind.KEYWORD)),)),
    ] = {}  # noqa: RUF012 - pydantic copies it


def _vowed(_changes: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("expected a vow")


class Vow(UpdateJob):
    """Says itself what is wrong with a row that changes nothing."""

    gift_id: Annotated[str, Cell(CellKind.ID)]
    changes: Annotated[
        dict[str, Any],
        AfterValidator(_vowed),
        Field(validate_default=True),
        Cell(CellKind.MAP, is_spread=True, members=(("status", Cell(CellKind.KEYWORD)),)),
    ] = {}  # noqa: RUF012 - pydantic copies it


CHANGE = operation("acme.change", Change)
WISH = operation("acme.wish", Wish)
VOW = operation("acme.vow", Vow)


def bound(folder: Path, table: Any, **arguments: Any) -> Bind:
    given_settings = arguments.pop("settings", {})
    return Bind(
        folder,
        table,
        **{
            "operation": "acme.change",
            "operations": {op.name: op for op in (CHANGE, WISH, VOW)},
            "inputs": {"acme.change": InputSettings(**given_settings)},
            **arguments,
        },
    )


def keys(*headers: str, **given_settings: Any) -> dict[str, str]:
    inputs = {"acme.change": InputSettings(**given_settings)}
    routing = find_routing(headers, inputs.values(), "a.csv")
    found = plan_header(headers, routing, [CHANGE], inputs, file="a.csv")["acme.change"]
    return {
        column.header: column.field.path[-1] for column in found.columns if column.field.is_bare
    }


@pytest.mark.parametrize(
    ("header", "key", "given_settings"),
    [
        ("status", "status", {}),
        (" Status\u00a0", "status", {}),  # a name, like those of fields
        ("STATE", "status", {"rename": {"State": "status"}}),
        ("/name", "/name", {}),
        (" /name ", "/name", {}),  # trimmed, for blanks at the end are nobody's wish
        ("/Name.en-US", "/Name.en-US", {}),  # dots mean nothing there
        ("/status", "/status", {}),  # not the column `status`
        ("/", "/", {}),  # a pointer to the member without a name
        ("/flags/on", "/flags/on", {}),
        ("Foo", "/a/b", {"rename": {"Foo": "/a/b"}}),
        ("/a", "remove:/a", {"rename": {"/a": "remove:/a"}}),  # a rename is more particular
        ("remove:/tags/0", "remove:/tags/0", {}),
        ("limits.most", "most", {}),  # a named member with members of its own
    ],
)
def test_a_header_names_a_member(header: str, key: str, given_settings: dict[str, Any]) -> None:
    assert keys("gift_id", header, **given_settings) == {header: key}


@pytest.mark.parametrize(
    ("headers", "given_settings", "said"),
    [
        (("status", "changes"), {}, "column 'changes': unknown column"),  # it has none of its own
        (("status", "changes./a"), {}, "unknown column"),
        (("status", "status.x"), {}, "unknown column"),
        (("status", "Remove:/a"), {}, "unknown column"),  # a prefix is exact
        (("status", "x"), {}, "one of gift_id, etag, status, note, patch, limits, /…, /flags/…"),
        (("status", "statu"), {}, 'write rename = { "statu" = "status" }'),
        (("status", "remov"), {}, "expected one of gift_id"),  # a pattern is no name to rename to
        (("status", "State"), {"rename": {"State": "status"}}, "status is given twice"),
        (("/a", "b"), {"rename": {"b": "/a"}}, "/a is given twice: '/a' and 'b'"),
        (("status",), {"rename": {"b": "changes"}}, "an unknown field"),
        (("status",), {"empty_is_null": ("status",)}, "a field that cannot be null"),
        (
            ("etag",),
            {},
            "no column for any of status, note, patch, limits, /…, /flags/…, remove:/…: every row",
        ),
    ],
)
def test_a_wrong_header_says_what_to_do(
    headers: tuple[str, ...], given_settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        keys("gift_id", *headers, **given_settings)
    messages = [str(fault) for fault in caught.value.faults]
    assert any(said in fault for fault in messages), messages


def test_of_two_patterns_the_longer_one_fits() -> None:
    for patterns in (["/*", "/flags/*"], ["/flags/*", "/*"]):
        assert longest_pattern(patterns, "/flags/on") == "/flags/*"
        assert longest_pattern(patterns, "/flag") == "/*"
        assert longest_pattern(patterns, "flag") is None


def test_no_member_of_a_spread_field_is_null_and_none_must_be_given() -> None:
    fields = fields_of(Change)
    for name in ("status", "patch", "/a", "remove:/a"):
        field = field_at(fields, name)
        assert field is not None
        assert not field.is_nullable
        assert not field.is_required
    columns = ("gift_id", "status", "/a")
    routing = find_routing(columns, [], "a.csv")
    found = plan_header(columns, routing, [CHANGE], {}, file="a.csv")["acme.change"].columns
    assert [(column.empty, column.can_omit) for column in found[1:]] == [(Empty.HARMLESS, True)] * 2


def test_a_field_that_need_not_be_given_needs_no_column(tmp_path: Path) -> None:
    rows = [{"gift_id": "g", "Status": cell} for cell in ("on", "")]
    found = bound(tmp_path, rows, operation="acme.wish", inputs={})
    assert found.jobs == {1: {"gift_id": "g", "changes": {"status": "on"}}, 2: {"gift_id": "g"}}
    assert bound(tmp_path, [{"gift_id": "g"}], operation="acme.wish").jobs == {1: {"gift_id": "g"}}


@pytest.mark.parametrize("row", [{}, {"status": ""}, {"status": "on"}])
def test_a_fault_of_the_whole_field_names_no_column(tmp_path: Path, row: dict[str, str]) -> None:
    found = bound(tmp_path, [{"gift_id": "g", **row}], operation="acme.vow")
    assert found.errors == {1: "line 2: not accepted; expected a vow"}


# ------------------------------------------------------------------------------------ cells

ROW = {"gift_id": "g", "etag": "", "/b": "2", "status": "on", "remove:/c": "", "/a": "1"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"/b": "2", "status": "on", "/a": "1"}),  # in the order of the columns
        ({"/b": "", "/a": "omit"}, {"status": "on"}),
        ({"remove:/c": "true", "status": " on "}, {**ROW, "remove:/c": True}),
        ({"/b": "null"}, {"/b": "null", "status": "on", "/a": "1"}),  # text, and a warning
        ({"/b": " x "}, {"/b": " x ", "status": "on", "/a": "1"}),  # free text is left alone
        ({"/b": "[1]"}, {"/b": "[1]", "status": "on", "/a": "1"}),  # never guessed to be JSON
        ({"patch": '[{"op": "test", "value": null}]'}, {**ROW, "patch": [{"op": "test", "value": None}]}),  # noqa: E501
        ({"limits.most": "3"}, {**ROW, "limits": {"most": 3}}),
        ({"limits.most": ""}, {"/b": "2", "status": "on", "/a": "1"}),
    ],
)  # fmt: skip
def test_the_job_has_the_values_of_its_row(
    tmp_path: Path, changes: dict[str, str], expected: dict[str, Any]
) -> None:
    found = bound(tmp_path, [{**ROW, **changes}])
    wanted = {k: v for k, v in expected.items() if k not in {"gift_id", "etag"} and v != ""}
    assert found.errors == {}
    assert found.jobs[1]["changes"] == wanted
    assert list(found.jobs[1]["changes"]) == list(wanted)
    assert "etag" not in found.jobs[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            dict.fromkeys(("/b", "status", "/a"), ""),
            "nothing to change is given; expected a value in at least one of the columns /b, stat",
        ),
        ({"/b": "omit", "status": "", "/a": ""}, "nothing to change is given"),
        ({"status": "null"}, "column status: null, but the field cannot be null"),
        ({"status": "#N/A"}, "column status: a placeholder for a missing value"),
        ({"remove:/c": "yes"}, "column remove:/c: not a boolean: 'yes'"),
        ({"remove:/c": "null"}, "column remove:/c: null, but the field cannot be null"),
        ({"remove:/c": "false"}, "column remove:/c: not accepted: False; expected true"),
        ({"patch": "null"}, "column patch: null, but the field cannot be null"),
        ({"patch": "{}"}, "column patch: JSON of another kind"),
        ({"/b": "a\x00"}, "column /b: a control character"),
        # a fault of the field as a whole names no column, for none alone is wrong
        ({"/status": "x"}, "line 2: not accepted; expected one of status and /status"),
    ],
)
def test_a_wrong_cell_names_its_column(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    (error,) = bound(tmp_path, [{**ROW, **changes}]).errors.values()
    assert said in error
    assert "changes" not in error
    assert " | " not in error  # once, and nothing that follows from it


def test_all_faults_of_a_row_are_reported(tmp_path: Path) -> None:
    row = {**ROW, "status": "null", "remove:/c": "false", "/flags/on": "maybe"}
    (error,) = bound(tmp_path, [row]).errors.values()
    for column in ("status", "remove:/c", "/flags/on"):
        assert error.count(f"column {column}: ") == 1


def test_a_renamed_column_is_named_as_in_the_file(tmp_path: Path) -> None:
    row = {"gift_id": "g", "Gone": "false"}
    found = bound(tmp_path, [row], settings={"rename": {"Gone": "remove:/c"}})
    assert "column Gone: not accepted: False" in found.errors[1]


CELLS = st.sampled_from(["", "omit", "true", "1", "null", " ", "x"])
COLUMNS = ("status", "note", "/a", "/a.b", "/flags/on", "remove:/a")


@settings(max_examples=25, deadline=None)
@given(
    columns=st.permutations(COLUMNS),
    rows=st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, CELLS)), min_size=1, max_size=6),
)
def test_given_cells_become_members_in_column_order(
    columns: list[str], rows: list[dict[str, str]]
) -> None:
    table = [{"gift_id": "g", **{name: row[name] for name in columns}} for row in rows]
    with TemporaryDirectory() as folder:
        found = bound(Path(folder), table)
    for number, row in enumerate(rows, 1):
        wanted = [(name, row[name]) for name in columns if _is_given(name, row[name])]
        if wanted and all(READS[name](cell) for name, cell in wanted):
            changes = found.jobs[number]["changes"]
            assert list(changes) == [name for name, _ in wanted]
            assert [str(value).strip().lower() for value in changes.values()] == [
                cell.strip() for _, cell in wanted
            ]
        else:
            assert number in found.errors


def _is_given(name: str, cell: str) -> bool:
    is_free = name in {"note", "/a", "/a.b"}
    return cell not in {"", "omit"} and bool(cell.strip() or is_free)


READS: Mapping[str, Callable[[str], bool]] = {
    "status": lambda cell: cell != "null",
    **dict.fromkeys(("note", "/a", "/a.b"), lambda _cell: True),
    **dict.fromkeys(("/flags/on", "remove:/a"), lambda cell: cell == "true"),
}
"""Whether a cell of the column is a value of it."""


# ---------------------------------------------------------------------------------- Parquet

TABLE = {
    "gift_id": ["a", "b"],
    "/flags/on": [True, None],
    "patch": [None, [{"op": "add", "path": "/x", "value": "1"}]],
    "/name": ["x", None],
    "/size": [7, 8],
}


def test_parquet_and_csv_give_the_same(tmp_path: Path) -> None:
    typed = bound(tmp_path, pl.DataFrame(TABLE), file="a.parquet")
    text = bound(
        tmp_path,
        [
            {"gift_id": "a", "/flags/on": "true", "patch": "", "/name": "x", "/size": "7"},
            {
                "gift_id": "b",
                "/flags/on": "",
                "patch": json.dumps(TABLE["patch"][1]),
                "/name": "",
                "/size": "8",
            },
        ],
    )
    assert typed.rows == text.rows
    assert typed.jobs[1]["changes"] == {"/flags/on": True, "/name": "x", "/size": "7"}


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("/name", [{"a": 1}], "column /name: a struct in the Parquet file"),
        ("/name", [1.5], "column /name: a floating-point number in the Parquet file"),
        ("/flags/on", ["x"], "column /flags/on: not a boolean"),
        ("remove:/a", [1], "column remove:/a: a whole number in the Parquet file"),
        ("patch", [{"op": "add"}], "column patch: a struct in the Parquet file"),
    ],
)
def test_a_typed_value_of_another_kind_is_a_fault(
    tmp_path: Path, column: str, values: list[Any], said: str
) -> None:
    table = pl.DataFrame({"gift_id": ["a"], "status": ["on"], column: values})
    assert said in bound(tmp_path, table, file="a.parquet").errors[1]


def test_a_struct_column_is_read_by_the_members_of_its_member(tmp_path: Path) -> None:
    table = pl.DataFrame({"gift_id": ["a", "b"], "limits": [{"most": 3}, None], "/a": ["x", "x"]})
    found = bound(tmp_path, table, file="a.parquet")
    assert found.jobs[1]["changes"] == {"limits": {"most": 3}, "/a": "x"}
    assert found.jobs[2]["changes"] == {"/a": "x"}


def test_a_mixed_file_may_hold_pointer_columns(tmp_path: Path) -> None:
    rows = [
        {"operation": "acme.change", "gift_id": "g", "/a": "1", "status": ""},
        {"operation": "acme.wish", "gift_id": "g", "/a": "", "status": "on"},
        {"operation": "acme.wish", "gift_id": "g", "/a": "1", "status": "on"},
    ]
    found = bound(tmp_path, rows, operation=None)
    assert sorted(found.jobs) == [1, 2]
    assert "column /a: a value in a column that acme.wish does not have" in found.errors[3]
