"""Rows become jobs or invalid results, never both, never neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.jobs import read_jobs
from pipeline.model import ConfigError, InputError, InputSettings, Status, UsageError
from tests.loader.bound_rows import (
    ACCOUNTS,
    ACME,
    APEX,
    ROW,
    SHOP,
    Bind,
    Switch,
    account,
    operation,
)

JOB = {
    "gift_id": "g1",
    "name": {"en-US": "A gift"},
    "items": [{"sku": "sword", "quantity": 1}],
    "until": "2026-12-31T18:00:00+00:00",
    "most": 10,
    "limits": {"per_user": 3, "schedule": None},
}
SWITCH_ROW = {"gift_id": "g1", "is_on": "true", "note": ""}


def without(*columns: str) -> dict[str, str]:
    return {name: cell for name, cell in ROW.items() if name not in columns}


def test_a_row_becomes_a_job(tmp_path: Path) -> None:
    found = Bind(tmp_path, [ROW])
    ((name, job),) = found.rows
    assert (name, job.row, job.operation, job.is_repeatable) == ("shop", 1, "acme.gift", True)
    assert job.entity == "acme|https://acme.example||gift|g1"
    assert json.loads(job.text) == JOB
    assert not found.invalid
    assert (found.bound.rows, found.bound.invalid) == (1, 0)


def test_the_job_does_not_depend_on_the_order_of_columns(tmp_path: Path) -> None:
    text = Bind(tmp_path, [ROW]).rows[0][1].text
    for columns in (["limits.per_user", *without("limits.per_user")], ["until", *without("until")]):
        found = Bind(tmp_path, [{column: ROW[column] for column in columns}])
        assert found.rows[0][1].text == text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name.en-US": "omit", "name.de-DE": "Ein Geschenk"}, {"name": {"de-DE": "Ein Geschenk"}}),
        ({"items": "omit"}, {"items": ...}),  # left out on purpose
        ({"items": "null"}, {"items": None}),
        ({"items": "[]"}, {"items": []}),
        ({"limits.per_user": "null"}, {"limits": {"per_user": None, "schedule": None}}),
        ({"limits.per_user": "omit"}, {"limits": {"schedule": None}}),
        ({"limits.per_user": "omit", "limits.schedule": "omit"}, {"limits": ...}),
        (
            {"limits.schedule": '{"day": "1"}'},
            {"limits": {"per_user": 3, "schedule": {"day": "1"}}},
        ),
        ({"most": "null"}, {"most": None}),  # must be given, and null is given
        ({"shelf_id": ""}, {}),  # says where it goes: leaving it out clears nothing
        ({"shelf_id": "007"}, {"shelf_id": "007"}),
        ({"_status": "rejected", "_hint": "x"}, {}),  # columns of our own reports
        ({"name.en-US": "  "}, {"name": {"en-US": "  "}}),  # free text is left alone
    ],
)
def test_the_job_has_the_values_of_its_row(
    tmp_path: Path, changes: dict[str, str], expected: dict[str, Any]
) -> None:
    found = Bind(tmp_path, [{**ROW, **changes}])
    wanted = {name: value for name, value in {**JOB, **expected}.items() if value is not ...}
    assert (found.errors, found.jobs) == ({}, {1: wanted})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gift_id": ""}, "column gift_id: not given; expected a value"),
        ({"gift_id": "omit"}, "column gift_id: left out, but the field is required"),
        ({"most": ""}, "column most: not given; expected a value, or null"),
        ({"most": "omit"}, "column most: left out, but the field is required"),
        ({"most": "-1"}, "column most: not accepted: -1; expected greater than or equal to 0"),
        ({"items": ""}, "column items: not given, which would clear the field at the vendor"),
        ({"limits.per_user": ""}, "column limits.per_user: not given, which would clear"),
        ({"name.en-US": ""}, "column name.en-US: not given, which would clear"),
        ({"name.en-US": "omit"}, "column name: not given"),  # no language is left
        (
            {"items": "sword"},
            "column items: not in the short form of this field: 'sword'; expected",
        ),
        ({"items": '[{"sku": 1}]'}, "column items: not accepted: 1; expected a valid string"),
        ({"gift_id": "a b"}, "column gift_id: not accepted: 'a b'; expected"),
        ({"gift_id": "13"}, "line 2: 13 is not for sale"),
        ({"limits.per_user": "x"}, "column limits.per_user: not a whole number: 'x'"),
    ],
)
def test_a_wrong_row_is_invalid_and_says_why(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    found = Bind(tmp_path, [ROW, {**ROW, **changes}])
    assert list(found.jobs) == [1]
    (result,) = found.invalid
    assert (result.row, result.status, result.error_code) == (2, Status.INVALID, "invalid")
    assert (result.operation, result.account) == ("acme.gift", "shop")
    assert said in result.error.replace("line 3", "line 2")
    assert (found.bound.rows, found.bound.invalid) == (2, 1)


def test_all_faults_of_a_row_are_reported(tmp_path: Path) -> None:
    row = {**ROW, "gift_id": "a b", "until": "46353", "items": "", "most": "-1", "name.en-US": ""}
    (error,) = Bind(tmp_path, [row]).errors.values()
    assert error.startswith("line 2: ")
    for column in ("gift_id", "until", "items", "most", "name.en-US"):
        assert error.count(f"column {column}: ") == 1
    assert len(error.split(" | ")) == 5


def test_a_hint_is_given_once(tmp_path: Path) -> None:
    (result,) = Bind(tmp_path, [{**ROW, "items": "", "limits.per_user": ""}]).invalid
    assert result.hint.count("Write omit") == 1
    assert '[input."acme.gift"]' in result.hint


def test_clear_sends_what_is_there_and_counts_what_it_clears(tmp_path: Path) -> None:
    rows = [{**without("until"), "items": cell} for cell in ("", "omit", "null", "bad")]
    found = Bind(tmp_path, rows, settings={"missing": "clear"})
    assert list(found.jobs) == [1, 2, 3]
    assert "items" not in found.jobs[1]
    cleared = {(entry.field, entry.jobs) for entry in found.bound.cleared}
    assert cleared == {("until", 3), ("items", 2)}  # of the rows that became jobs


def test_an_empty_column_may_mean_null(tmp_path: Path) -> None:
    settings = {"empty_is_null": ("until", "limits.per_user")}
    found = Bind(tmp_path, [{**ROW, "until": "", "limits.per_user": ""}], settings=settings)
    assert found.jobs[1]["until"] is None
    assert found.jobs[1]["limits"] == {"per_user": None, "schedule": None}


def test_a_doubtful_job_is_sent_with_a_warning(tmp_path: Path) -> None:
    rows = [{**ROW, "gift_id": "0", "name.en-US": "NULL"}] * 7
    found = Bind(tmp_path, rows)
    assert len(found.jobs) == 7
    warnings = {kind.text: (kind.rows, kind.examples) for kind in found.bound.warnings}
    assert warnings == {
        "a gift of nothing": (7, (1, 2, 3, 4, 5)),
        "name.en-US: text that is a placeholder for a missing value elsewhere": (
            7,
            (1, 2, 3, 4, 5),
        ),
    }


def test_at_most_five_faults_of_a_kind_are_kept(tmp_path: Path) -> None:
    rows = [{**ROW, "most": f"x{n}"} for n in range(9)]
    found = Bind(tmp_path, [*rows, {**ROW, "until": "46353"}])
    kinds = [(kind.what, kind.column, kind.rows, len(kind.examples)) for kind in found.bound.faults]
    assert kinds == [
        ("not a whole number", "most", 9, 5),
        ("a number, not a date", "until", 1, 1),
    ]
    first = found.bound.faults[0].examples[0]
    assert str(first).startswith("gifts.csv, row 1 (line 2), column most: not a whole number: 'x0'")


FINAL = operation(
    "acme.switch",
    Switch,
    irreversible=lambda job: not job.is_on,
    batch_key=lambda s, job: f"{s.base_url} {job.is_on}" if job.gift_id != "alone" else "",
)


def test_a_job_has_its_batch_key(tmp_path: Path) -> None:
    rows = [{**SWITCH_ROW, "gift_id": name} for name in ("a", "alone", "b")]
    found = Bind(tmp_path, rows, operation=FINAL.name, operations={FINAL.name: FINAL})
    assert [job.batch for _, job in found.rows] == [
        "https://acme.example True",
        "",
        "https://acme.example True",
    ]
    assert [job.batch for _, job in Bind(tmp_path, [ROW]).rows] == [
        ""
    ]  # unless the operation says more


def test_an_irreversible_job_is_sent_only_if_allowed(tmp_path: Path) -> None:
    rows = [
        SWITCH_ROW,
        {**SWITCH_ROW, "is_on": "false"},
        {**SWITCH_ROW, "is_on": "false", "gift_id": "13"},  # which is not for sale, besides
        {**SWITCH_ROW, "is_on": "false"},
    ]
    arguments: dict[str, Any] = {"operation": FINAL.name, "operations": {FINAL.name: FINAL}}
    refused = Bind(tmp_path, rows, **arguments)
    assert list(refused.jobs) == [1]
    assert refused.errors == {
        2: "line 3: cannot be taken back",
        3: "line 4: 13 is not for sale | cannot be taken back",
        4: "line 5: cannot be taken back",
    }
    assert refused.invalid[0].hint == "Check the row; --allow irreversible sends it"
    assert refused.bound.irreversible == {}
    allowed = Bind(tmp_path, rows, **arguments, allow_irreversible=True)
    assert list(allowed.jobs) == [1, 2, 4]
    assert allowed.errors == {3: "line 4: 13 is not for sale"}
    assert allowed.bound.irreversible == {"acme.switch": 2}  # those that will be sent


def test_rows_of_one_entity_are_counted(tmp_path: Path) -> None:
    rows = [{**ROW, "gift_id": name} for name in "abacab"]
    found = Bind(tmp_path, [*rows, {**ROW, "gift_id": "a", "most": "x"}])  # the last is no job
    assert found.bound.repeated == 5  # three a, two b
    jobs = found.bound.jobs["shop"]
    assert (jobs.rows, jobs.operations) == (6, {"acme.gift": 6})


def test_a_date_without_offset_uses_the_sources_timezone_first(tmp_path: Path) -> None:
    row = {**ROW, "until": "2026-07-01 18:00"}
    there = {"timezone": "Europe/Berlin"}
    assert Bind(tmp_path, [row], timezone="UTC").jobs[1]["until"] == "2026-07-01T18:00:00+00:00"
    found = Bind(tmp_path, [row], timezone="UTC", settings=there)
    assert found.jobs[1]["until"] == "2026-07-01T18:00:00+02:00"


@pytest.mark.parametrize("name", ["Europe/Berlim", "../etc/passwd", "", "Europe"])
def test_an_unknown_timezone_is_an_error_of_the_configuration(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="unknown timezone"):
        Bind(tmp_path, [ROW], timezone=name)


# --------------------------------------------------------------- operation and account


def test_one_file_may_mix_operations(tmp_path: Path) -> None:
    rows = [
        {"operation": "acme.gift", **ROW, "is_on": "", "note": ""},
        {"operation": "acme.switch", **dict.fromkeys(ROW, ""), **SWITCH_ROW},
        {"operation": "apex.switch", **dict.fromkeys(ROW, ""), **SWITCH_ROW, "note": "x"},
        {"operation": "acme.gift", **ROW, "is_on": "", "note": ""},
        {"operation": "acme.switch", **dict.fromkeys(ROW, ""), **SWITCH_ROW, "most": "1"},
        {"operation": "acme.twitch", **ROW},
        {"operation": "", **ROW},
    ]
    found = Bind(tmp_path, rows, operation=None)
    assert [(name, job.row, job.operation) for name, job in found.rows] == [
        ("peak", 3, "apex.switch"),
        ("shop", 1, "acme.gift"),
        ("shop", 2, "acme.switch"),
        ("shop", 4, "acme.gift"),
    ]
    assert [job.is_repeatable for _, job in found.rows] == [False, True, True, True]
    assert list(found.errors) == [5, 6, 7]
    assert "a value in a column that acme.switch does not have: '1'" in found.errors[5]
    assert "an unknown operation: 'acme.twitch'; expected one of acme.gift" in found.errors[6]
    assert "Perhaps acme.switch" in found.invalid[1].hint
    assert "no operation is given" in found.errors[7]
    assert [
        (job.row, job.operation)
        for batch in read_jobs(found.bound.jobs["shop"].path)
        for job in batch
    ] == [
        (1, "acme.gift"),
        (2, "acme.switch"),
        (4, "acme.gift"),
    ]


@pytest.mark.parametrize(
    ("cells", "arguments", "operation", "said"),
    [
        ({}, {"operation": "acme.switch"}, "acme.switch", None),
        ({}, {"operation": None, "folder_operation": "acme.switch"}, "acme.switch", None),
        ({"Operation": " acme.switch "}, {"operation": None}, "acme.switch", None),
        ({"operation": "acme.switch"}, {"operation": "acme.switch"}, "acme.switch", None),
        ({"operation": ""}, {"operation": "acme.switch"}, "acme.switch", None),
        (
            {"operation": "apex.switch"},
            {"operation": "acme.switch"},
            None,
            "the command says acme.switch, the row says otherwise: 'apex.switch'",
        ),
        (
            {"operation": "apex.switch"},
            {"operation": None, "folder_operation": "acme.switch"},
            None,
            "the file's folder says acme.switch, the row says otherwise: 'apex.switch'",
        ),
        # our own column speaks only where nothing else does
        ({"_operation": "apex.switch"}, {"operation": "acme.switch"}, "acme.switch", None),
        ({"_operation": "apex.switch"}, {"operation": None}, "apex.switch", None),
        (
            {"operation": "acme.switch", "_operation": "apex.switch"},
            {"operation": None},
            "acme.switch",
            None,
        ),
    ],
)
def test_all_sources_of_the_operation_must_agree(
    tmp_path: Path,
    cells: dict[str, str],
    arguments: dict[str, Any],
    operation: str | None,
    said: str | None,
) -> None:
    found = Bind(tmp_path, [{**SWITCH_ROW, **cells}], **arguments)
    assert [job.operation for _, job in found.rows] == ([operation] if operation else [])
    assert all(said in error for error in found.errors.values()) if said else not found.errors


TWO = {"shop": SHOP, "outlet": account("outlet", ACME), "peak": account("peak", APEX)}
SAMPLES = {"sample-a": account("sample-a", ACME), "sample-b": account("sample-b", ACME)}


@pytest.mark.parametrize(
    ("cells", "accounts", "listed", "given", "name", "said"),
    [
        ({}, ACCOUNTS, None, None, "shop", None),  # the vendor's only one
        ({}, TWO, None, "outlet", "outlet", None),
        ({"account": " shop "}, ACCOUNTS, None, None, "shop", None),
        ({"account": "shop"}, TWO, None, None, None, "is not allowed to name"),  # not listed
        ({"account": "outlet"}, TWO, ("shop", "outlet"), None, "outlet", None),
        ({"account": "outlet"}, TWO, ("shop",), None, None, "expected one of shop"),
        ({"account": ""}, ACCOUNTS, None, None, "shop", None),
        ({"account": ""}, TWO, None, None, None, "acme has several accounts"),
        ({"account": "shop"}, TWO, None, "outlet", None, "the command says account outlet"),
        ({"account": "shop"}, ACCOUNTS, None, "peak", None, "the command says account peak"),
        ({"account": ""}, ACCOUNTS, None, "peak", None, "account peak is one of apex"),
        ({"account": "peak"}, ACCOUNTS, ("peak",), None, None, "account peak is one of apex"),
        ({"_account": "outlet"}, TWO, ("outlet",), None, "outlet", None),
        ({"_account": "outlet"}, TWO, None, "shop", "shop", None),  # something else says it
        ({"account": "sample-a"}, ACCOUNTS, None, None, None, "is not allowed to name"),
        ({"account": "sample-b"}, ACCOUNTS | SAMPLES, None, None, "sample-b", None),
        ({"account": ""}, ACCOUNTS | SAMPLES, None, None, "shop", None),
        ({"Account": "4711"}, ACCOUNTS, None, None, None, "is not allowed to name"),
        ({"account": ""}, {"sample-a": SAMPLES["sample-a"]}, None, None, "sample-a", None),
    ],
)
def test_the_account_is_one_that_the_file_may_name(  # noqa: PLR0917 - a table
    tmp_path: Path,
    cells: dict[str, str],
    accounts: dict[str, Any],
    listed: tuple[str, ...] | None,
    given: str | None,
    name: str | None,
    said: str | None,
) -> None:
    found = Bind(
        tmp_path,
        [{**SWITCH_ROW, **cells}],
        operation="acme.switch",
        accounts=accounts,
        account=given,
        inputs={"acme.switch": InputSettings(accounts=listed)},
    )
    assert [where for where, _ in found.rows] == ([name] if name else [])
    assert all(said in error for error in found.errors.values()) if said else not found.errors


def test_a_column_that_only_looks_like_an_account_can_be_ignored_or_renamed(tmp_path: Path) -> None:
    row = {**ROW, "account": "4711"}
    assert Bind(tmp_path, [row], settings={"ignore": ("acc*",)}).jobs == {1: JOB}
    renamed = Bind(tmp_path, [row], settings={"rename": {"Account": "shelf_id"}})
    assert renamed.jobs[1]["shelf_id"] == "4711"


def test_a_renamed_column_can_name_the_account(tmp_path: Path) -> None:
    found = Bind(tmp_path, [{**ROW, "shop": "nowhere"}], settings={"rename": {"shop": "account"}})
    assert "an account that the file is not allowed to name: 'nowhere'" in found.errors[1]


def test_invalid_rows_of_different_kinds_come_in_row_order(tmp_path: Path) -> None:
    named = ("acme.switch", "nothing", "acme.switch", "", "acme.switch")
    rows = [{**SWITCH_ROW, "is_on": "x", "operation": name} for name in named]
    assert [result.row for result in Bind(tmp_path, rows, operation=None).invalid] == [
        1,
        2,
        3,
        4,
        5,
    ]


# ------------------------------------------------------------------ what ends it at once


@pytest.mark.parametrize(
    ("row", "arguments", "error", "said"),
    [
        (ROW, {"operation": "acme.gifts"}, UsageError, "perhaps acme.gift"),
        (ROW, {"account": "shopp"}, UsageError, "perhaps shop"),
        (ROW, {"folder_operation": "acme.switch"}, UsageError, "is in the folder of acme.switch"),
        (ROW, {"operation": None}, InputError, "no operation is given"),
        (
            {**ROW, "operation": "x"},
            {"operation": None},
            InputError,
            "no row names a known operation",
        ),
        (ROW, {"accounts": TWO}, InputError, "acme has several accounts"),
        (ROW, {"accounts": {}}, InputError, "no account of acme is configured"),
        ({"gift_id": "g", "most": "1"}, {}, InputError, "items, until, limits.per_user"),
    ],
)
def test_a_file_that_cannot_be_sent_leaves_nothing_behind(
    tmp_path: Path, row: dict[str, str], arguments: dict[str, Any], error: type, said: str
) -> None:
    with pytest.raises(error, match=said):
        Bind(tmp_path, [row], **arguments)
    assert not list(tmp_path.glob("jobs-*"))


def test_an_old_report_may_be_sent_as_new(tmp_path: Path) -> None:
    row = {**ROW, "_run": "r", "_row": "9", "_account": "nowhere", "_operation": "nothing"}
    found = Bind(tmp_path, [row], force_order=True, account="shop")
    assert [(job.origin_run, job.origin_row) for _, job in found.rows] == [("", 0)]


def test_rows_of_an_old_report_keep_their_origin(tmp_path: Path) -> None:
    places = [("monday", "9"), ("", ""), ("sunday", "2.0")]
    rows = [{**ROW, "_run": run, "_row": row} for run, row in places]
    found = Bind(tmp_path, rows, known_runs={"monday", "sunday"}.__contains__)
    kept = [(job.origin_run, job.origin_row) for _, job in found.rows]
    assert kept == [("monday", 9), ("", 0), ("sunday", 2)]


def test_a_parquet_report_says_the_same(tmp_path: Path) -> None:
    table = pl.DataFrame(
        [{**ROW, "_run": "monday", "_row": 9}, {**ROW, "_run": None, "_row": None}]
    )
    found = Bind(tmp_path, table, file="gifts.parquet", known_runs=lambda _name: True)
    assert [(job.origin_run, job.origin_row) for _, job in found.rows] == [("monday", 9), ("", 0)]


def test_a_missing_origin_is_reported_with_the_other_faults(tmp_path: Path) -> None:
    rows = [{**ROW, "most": "x", "_run": "monday", "_row": "9"}, {**ROW, "_run": "", "_row": "9"}]
    found = Bind(tmp_path, rows)
    assert not found.rows
    assert "not on record" in found.errors[1]
    assert "most" in found.errors[1]
    assert "--force-order" in found.invalid[0].hint
    assert "_row is" in found.errors[2]


def test_one_of_the_origin_columns_alone_has_no_effect(tmp_path: Path) -> None:
    found = Bind(tmp_path, [{**ROW, "_row": "9"}])
    assert [(job.origin_run, job.origin_row) for _, job in found.rows] == [("", 0)]


def test_a_header_without_rows_gives_no_job(tmp_path: Path) -> None:
    for given, column in (("acme.gift", {}), (None, {"operation": ""})):
        table = pl.DataFrame(schema=dict.fromkeys([*ROW, *column], pl.String))
        found = Bind(tmp_path, table, operation=given)
        assert (found.bound.rows, found.bound.jobs, found.invalid) == (0, {}, [])


def test_every_batch_is_bound_in_row_order(tmp_path: Path) -> None:
    rows = [{**ROW, "most": "x" if n % 3 else "1"} for n in range(1, 2_001)]
    found = Bind(tmp_path, rows)
    assert len(found.emitted) > 1
    assert list(found.jobs) == list(range(3, 2_001, 3))
    assert [result.row for result in found.invalid] == [n for n in range(1, 2_001) if n % 3]
