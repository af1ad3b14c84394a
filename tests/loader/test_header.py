"""Headers, a reason per row."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loader.fields import Field, allows_none, field_at, fields_of
from pipeline.loader.header import Empty, OperationPlan, find_routing, plan_header
from pipeline.loader.suggestions import nearest
from pipeline.loader.unknown_columns import ignoring
from pipeline.model import Cell, CellKind, InputError, InputSettings
from pipeline.vendors import load_vendors
from tests.loader.bound_rows import GIFT, OPERATIONS, ROW, SWITCH, Gift, Switch

ALL = tuple(ROW)


def plan(
    *headers: str, operations: Any = (GIFT,), structs: Any = None, **settings: Any
) -> dict[str, OperationPlan]:
    inputs = {op.name: InputSettings(**settings) for op in operations}
    routing = find_routing(headers, inputs.values(), "a.csv")
    return plan_header(headers, routing, operations, inputs, file="a.csv", structs=structs)


def targets(*headers: str, **settings: Any) -> dict[str, str]:
    columns = plan(*headers, **settings)["acme.gift"].columns
    return {column.shown: column.field.name for column in columns}


def faults(*headers: str, **settings: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        plan(*headers, **settings)
    return [str(fault) for fault in caught.value.faults]


def swap(old: str, new: str) -> tuple[str, ...]:
    return tuple(new if name == old else name for name in ALL)


@pytest.mark.parametrize(
    ("header", "field", "settings"),
    [
        (" gift_id\u00a0", "gift_id", {}),  # trimmed
        ("\ufeffgift_id", "gift_id", {}),
        ("GIFT_ID", "gift_id", {}),  # case does not matter where it is unambiguous
        ("Gift ID", "gift_id", {"rename": {"Gift ID": "gift_id"}}),
        (" gift id ", "gift_id", {"rename": {"Gift ID": "gift_id"}}),
        ("Name.en-US", "name.en-US", {}),  # the field's case, not the key's
        ("NAME_EN", "name.en-US", {"rename": {"NAME_EN": "name.en-US"}}),
        ("name.a.b", "name.a.b", {}),  # a key may hold dots
        ("name", "name", {}),
        ("LIMITS.Per_User", "limits.per_user", {}),
        # a rename is more particular than a pattern
        ("dbt_id", "gift_id", {"rename": {"dbt_id": "gift_id"}, "ignore": ("dbt_*",)}),
    ],
)
def test_a_header_names_a_field(header: str, field: str, settings: dict[str, Any]) -> None:
    old = next(name for name in ALL if name.split(".")[0] == field.split(".", maxsplit=1)[0])
    old = field if field in ALL else old
    assert targets(*swap(old, header), **settings)[header] == field


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        (("loaded_at", "dbt_id"), {"ignore": ("loaded_at", "DBT_*")}),
        (("_run", "_status", "_request_id"), {}),  # our own result columns
        (("operation", "ACCOUNT"), {}),  # they say where a row goes
        (("", " \u200b"), {}),  # no name at all: only cells may say that it is wrong
    ],
)
def test_some_columns_fill_no_field(headers: tuple[str, ...], settings: dict[str, Any]) -> None:
    assert list(targets(*ALL, *headers, **settings)) == list(ALL)


UNREAD = {"etl_blob": ("bytes", "Cast it to text")}


def test_a_column_that_is_ignored_may_hold_anything() -> None:
    routing = find_routing(ALL, [], "a.csv")
    inputs = {GIFT.name: InputSettings(ignore=("etl_*",))}
    plan_header(ALL, routing, [GIFT], inputs, file="a.csv", unread=UNREAD)


@pytest.mark.parametrize("header", ["etl_blob", "gift_id", "operation", "_run"])
def test_an_unreadable_column_is_refused_unless_it_is_ignored(header: str) -> None:
    headers = tuple(name for name in ALL if name != header)
    with pytest.raises(InputError) as caught:
        plan_header(
            headers,
            find_routing(headers, [], "a.csv"),
            [GIFT],
            {},
            file="a.csv",
            unread={header: UNREAD["etl_blob"]},
        )
    (fault,) = caught.value.faults  # the field that it would fill is not missed as well
    assert f"column {header}: holds bytes" in str(fault)
    assert f'write ignore = ["{header}"]' in str(fault)


def test_every_operation_of_a_file_must_ignore_an_unreadable_column() -> None:
    with pytest.raises(InputError, match=r"acme\.switch"):
        plan_header(
            (*ALL, "switch_id"),
            find_routing(ALL, [], "a.csv"),
            [GIFT, SWITCH],
            {GIFT.name: InputSettings(ignore=("etl_*",))},
            file="a.csv",
            unread=UNREAD,
        )


def test_many_unknown_columns_are_one_message() -> None:
    unknown = [f"dwh_c{n}" for n in range(300)]
    (messages,) = faults(*ALL, *unknown)
    assert "300 unknown columns: dwh_c0, dwh_c1, dwh_c2, dwh_c3, dwh_c4 and 295 more" in messages
    assert 'Under [input."acme.gift"] write ignore = ["dwh_*"]' in messages


def test_a_possible_misspelling_is_named_among_many() -> None:
    messages = faults(*swap("gift_id", "giftid"), *(f"dwh_c{n}" for n in range(300)))
    assert "unknown column, perhaps gift_id" in messages[0]
    assert "300 unknown columns" in messages[1]


UNKNOWN = {  # names, kept ones, what to ignore
    "a prefix": (["etl_a", "etl_b"], ["id"], ["etl_*"]),
    "two prefixes, and one alone": (
        ["etl_a", "dwh.b", "etl_b", "dwh.c", "x"],
        ["id"],
        ["etl_*", "dwh.*", "x"],
    ),
    "a prefix of a kept one": (["gift_a", "gift_b"], ["Gift_Id"], ["gift_a", "gift_b"]),
    "too short a prefix": (["a_b", "a_c"], [], ["a_b", "a_c"]),
    "a prefix of one name": (["etl_a"], [], ["etl_a"]),
    "stars that are meant": (["a*b", "c?", "d[e]"], [], ["a[*]b", "c[?]", "d[[]e]"]),
}


@pytest.mark.parametrize(("names", "kept", "globs"), UNKNOWN.values(), ids=UNKNOWN)
def test_suggested_patterns_do_not_match_other_columns(
    names: list[str], kept: list[str], globs: list[str]
) -> None:
    assert ignoring(names, kept) == globs


@given(
    names=st.lists(st.text("ab_*?[.A", min_size=1, max_size=6), min_size=1, unique=True),
    kept=st.lists(st.text("ab_*?[.A", min_size=1, max_size=6)),
)
def test_suggested_patterns_match_exactly_the_unknown_columns(
    names: list[str], kept: list[str]
) -> None:
    kept = [name for name in kept if name.casefold() not in map(str.casefold, names)]
    globs = [glob.casefold() for glob in ignoring(names, kept)]
    assert all(any(fnmatchcase(name.casefold(), glob) for glob in globs) for name in names)
    assert not any(fnmatchcase(name.casefold(), glob) for name in kept for glob in globs)


def test_the_list_of_unrelated_names_is_limited() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    unknown = [f"{a}{b}{c}" * 4 for a in letters for b in letters for c in letters][:9_000]
    messages = "\n".join(faults(*ALL, *unknown))
    assert len(messages) < 1_500
    assert "9000 unknown columns" in messages
    assert "leave them out of the export" in messages


@pytest.mark.parametrize(
    ("headers", "settings", "said"),
    [
        ((*ALL, "gift_ids"), {}, "unknown column, perhaps gift_id"),
        (
            (*ALL, "gift_ids"),
            {},
            'Under [input."acme.gift"] write rename = { "gift_ids" = "gift_id" }',
        ),
        ((*ALL, "loaded_at"), {}, 'write ignore = ["loaded_at"]'),
        ((*ALL, "loaded_at"), {}, "expected one of gift_id, shelf_id, name"),
        ((*ALL, 'a"b'), {}, r'ignore = ["a\"b"]'),  # can be pasted
        ((*ALL, "_Status"), {}, "unknown column"),  # our own columns have exact names
        ((*ALL, "limits.foo"), {}, "unknown column"),
        ((*ALL, "items.0"), {}, "unknown column"),  # dots reach into maps and objects only
        ((*ALL, "name."), {}, "unknown column"),
        ((*ALL, "/name.en-US"), {}, "unknown column"),  # dots mean nothing behind a slash
        ((*ALL, "GIFT_ID"), {}, "gift_id is given twice: 'gift_id' and 'GIFT_ID'"),
        ((*ALL, "name"), {}, "given twice"),  # the whole beside a part
        ((*ALL, "x"), {"rename": {"x": "most"}}, "most is given twice"),
        ((*ALL, "account", "Account"), {}, "account is given twice"),
        (swap("gift_id", "x"), {"ignore": ("x",)}, "no column for gift_id: every row"),
        (swap("most", "x"), {"ignore": ("x",)}, "no column for most: every row"),
        (
            swap("most", "x"),
            {"ignore": ("x",), "missing": "clear"},
            "no column for most: every row",  # in both modes
        ),
        (ALL[:3] + ALL[4:], {}, "no column for until: acme.gift replaces everything"),
        (ALL[:3] + ALL[4:], {}, 'set missing = "keep" or "clear" under [input."acme.gift"]'),
        (ALL[:-1], {}, "no column for limits.schedule: acme.gift"),
        (ALL, {"rename": {"x": "nothing"}}, 'rename of "x" to an unknown field'),
        (ALL, {"empty_is_null": ("nothing",)}, "empty_is_null of an unknown field"),
        (ALL, {"empty_is_null": ("gift_id",)}, "empty_is_null of a field that cannot be null"),
    ],
)
def test_a_wrong_header_says_what_to_do(
    headers: tuple[str, ...], settings: dict[str, Any], said: str
) -> None:
    messages = faults(*headers, **settings)
    assert any(said in fault for fault in messages), messages


def test_all_faults_of_a_header_are_reported() -> None:
    messages = faults("gift_id", "Gift_Id", "foo", "bar")
    assert len([fault for fault in messages if "2 unknown columns: foo, bar" in fault]) == 1
    assert any("given twice" in fault for fault in messages)
    assert any("no column for name, most:" in fault for fault in messages)
    assert any(
        "no column for items, until, limits.per_user, limits.schedule:" in f for f in messages
    )


def test_a_column_of_the_whole_object_gives_its_members() -> None:
    headers = (*ALL[:-2], "limits")
    assert targets(*headers)["limits"] == "limits"


def test_a_struct_is_read_member_by_member() -> None:
    headers = (*ALL[:-2], "LIMITS")
    found = targets(*headers, structs={"LIMITS": ("per_user", "schedule")})
    assert (found["LIMITS.per_user"], found["LIMITS.schedule"]) == (
        "limits.per_user",
        "limits.schedule",
    )
    messages = faults(*headers, structs={"LIMITS": ("per_user", "foo")})
    assert any("LIMITS.foo is not a member" in fault for fault in messages)
    assert any("no column for limits.schedule" in fault for fault in messages)


def test_required_columns_depend_on_the_operation_and_its_settings() -> None:
    def empty(**settings: Any) -> dict[str, Empty]:
        columns = plan(*ALL, "shelf_id", **settings)["acme.gift"].columns
        return {column.shown: column.empty for column in columns}

    refused, cleared = empty(), empty(missing="clear")
    assert refused["items"] is refused["limits.per_user"] is refused["name.en-US"] is Empty.REFUSED
    assert cleared["items"] is Empty.CLEARS
    for found in (refused, cleared):
        assert found["gift_id"] is found["most"] is Empty.INVALID
        assert found["shelf_id"] is Empty.HARMLESS  # an optional id says where, not what
    (is_on,) = (
        column
        for column in plan("gift_id", "is_on", "note", operations=(SWITCH,))["acme.switch"].columns
        if column.shown == "note"
    )
    assert is_on.empty is Empty.HARMLESS  # this operation replaces nothing


def test_allowed_missing_columns_are_listed() -> None:
    found = plan("gift_id", "name.en-US", "most", missing="clear")["acme.gift"]
    assert found.absent == ("items", "until", "limits.per_user", "limits.schedule")


def test_in_a_mixed_file_a_column_belongs_to_at_least_one_operation() -> None:
    operations = tuple(OPERATIONS.values())
    found = plan(*ALL, "is_on", "note", "operation", operations=operations)
    assert found["acme.gift"].foreign == ("is_on", "note")
    assert found["acme.switch"].foreign == tuple(name for name in ALL if name != "gift_id")
    with pytest.raises(InputError, match="unknown column"):
        plan(*ALL, "is_on", "noted", operations=operations)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CouponCode", None), ("externalid", "external_id"), ("redeem total limit", None)],
)
def test_the_nearest_name_is_near(name: str, expected: str | None) -> None:
    assert nearest(name, ["name", "external_id"]) == expected


def test_nullable_fields() -> None:
    fields = fields_of(Gift)
    can = {name: field.is_nullable for name, field in fields.items()}
    assert can == {
        "gift_id": False,
        "shelf_id": False,
        "name": False,
        "items": True,
        "until": True,
        "most": True,
        "limits": True,
    }
    inner = field_at(fields, "limits.per_user")
    assert inner is not None
    assert inner.is_nullable
    key = field_at(fields, "name.en-US")
    assert key is not None
    assert not key.is_nullable
    assert [name for name, field in fields_of(Switch).items() if field.is_required] == [
        "gift_id",
        "is_on",
    ]


def test_an_untyped_field_is_nullable() -> None:
    assert allows_none(Any)
    assert Field(("x",), Cell(CellKind.OBJECT, members=(("y", Cell(CellKind.ID)),)), False, Any)


@pytest.mark.parametrize(
    "operation",
    [op for vendor in load_vendors().values() for op in vendor.operations],
    ids=lambda op: op.name,
)
def test_the_sample_of_every_operation_has_a_good_header(operation: Any) -> None:
    found = plan(*operation.sample, operations=(operation,))[operation.name]
    assert [column.shown for column in found.columns] == list(operation.sample)
    assert found.absent == ()
