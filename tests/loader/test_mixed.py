"""One file for several vendors, whose columns share names: each row is read as its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import pytest

from pipeline.config.simulated import sample
from pipeline.model import Cell, CellKind, EntityKey, InputError, InputSettings, UpdateJob
from pipeline.vendors import load_vendors
from tests.loader.bound_rows import ACCOUNTS, GIFT, ROW, SHOP, Bind, account, operation, vendor


class Change(UpdateJob):
    """Shares `name` with `acme.gift`, where it is a map, and `status` with `axis.state`."""

    gift_id: Annotated[str, Cell(CellKind.ID)]
    changes: Annotated[
        dict[str, Any],
        Cell(
            CellKind.MAP,
            is_spread=True,
            members=(
                ("status", Cell(CellKind.KEYWORD)),
                ("name", Cell(CellKind.TEXT)),
                ("/*", Cell(CellKind.TEXT)),
            ),
        ),
    ]


class State(UpdateJob):
    """Its `status` has other words, and it has no `gift_id`."""

    offer: Annotated[str, Cell(CellKind.ID)]
    status: Annotated[Literal["1", "2"], Cell(CellKind.KEYWORD)]
    notes: Annotated[str, Cell(CellKind.TEXT)] = ""


CHANGE = operation("apex.change", Change)
STATE = operation(
    "axis.state",
    State,
    entity=lambda s, job: EntityKey("axis", s.base_url, "", "offer", job.offer),
    refuse=lambda _s, _job: None,
    warn=lambda _job: (),
)
THREE = {op.name: op for op in (GIFT, CHANGE, STATE)}
ONE_EACH = {**ACCOUNTS, "bill": account("bill", vendor("axis"))}

GIFT_ROW = {"operation": "acme.gift", **ROW}
CHANGE_ROW = {"operation": "apex.change", "gift_id": "g2", "status": "draft", "/a": "x"}
STATE_ROW = {"operation": "axis.state", "offer": "o", "status": "2"}


def bound(folder: Path, rows: list[dict[str, str]], **arguments: Any) -> Bind:
    columns = dict.fromkeys(name for row in rows for name in row)
    return Bind(
        folder,
        [{name: row.get(name, "") for name in columns} for row in rows],
        **{
            "operation": None,
            "operations": THREE,
            "accounts": ONE_EACH,
            "inputs": {},
            **arguments,
        },
    )


def test_rows_of_three_vendors_share_a_file_and_a_column(tmp_path: Path) -> None:
    found = bound(tmp_path, [GIFT_ROW, CHANGE_ROW, STATE_ROW])
    assert found.errors == {}
    assert {(where, job.row) for where, job in found.rows} == {
        ("shop", 1),
        ("peak", 2),
        ("bill", 3),
    }
    assert found.jobs[2]["changes"] == {"status": "draft", "/a": "x"}
    assert found.jobs[3] == {"offer": "o", "status": "2"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**GIFT_ROW, "/a": "x"}, "column /a: a value in a column that acme.gift does not have"),
        ({**GIFT_ROW, "status": "1"}, "column status: a value in a column that acme.gift"),
        ({**CHANGE_ROW, "offer": "o"}, "column offer: a value in a column that apex.change"),
        ({**CHANGE_ROW, "most": "1"}, "column most: a value in a column that apex.change"),
        ({**STATE_ROW, "gift_id": "g"}, "column gift_id: a value in a column that axis.state"),
        ({**STATE_ROW, "status": "draft"}, "column status: not accepted: 'draft'"),
        ({**STATE_ROW, "status": ""}, "column status: not given"),  # required here, not there
        ({**STATE_ROW, "account": "shop"}, "account shop is one of acme, the row is for axis"),
        ({**STATE_ROW, "account": "bil"}, "'bil'; expected one of bill"),
    ],
)
def test_a_filled_cell_belongs_to_the_operation_of_its_row(
    tmp_path: Path, row: dict[str, str], said: str
) -> None:
    found = bound(tmp_path, [GIFT_ROW, CHANGE_ROW, STATE_ROW, row])
    assert list(found.errors) == [4]
    assert said in found.errors[4]
    assert "accounts =" not in found.invalid[0].hint  # listing it there would not help


def test_each_vendors_only_account_may_be_named(tmp_path: Path) -> None:
    rows = [
        {**GIFT_ROW, "account": "shop"},
        {**CHANGE_ROW, "account": "peak"},
        {**STATE_ROW, "account": ""},
    ]
    assert {(where, job.row) for where, job in bound(tmp_path, rows).rows} == {
        ("shop", 1),
        ("peak", 2),
        ("bill", 3),
    }


def test_an_account_of_the_command_suits_the_rows_of_its_vendor(tmp_path: Path) -> None:
    found = bound(tmp_path, [CHANGE_ROW, STATE_ROW], account="peak")
    assert list(found.jobs) == [1]
    assert "account peak is one of apex, the row is for axis" in found.errors[2]


def test_only_operations_of_rows_require_columns(tmp_path: Path) -> None:
    assert sorted(bound(tmp_path, [CHANGE_ROW, STATE_ROW]).jobs) == [1, 2]  # none of acme.gift
    lacking = {name: cell for name, cell in GIFT_ROW.items() if name != "until"}
    with pytest.raises(InputError, match=r"no column for until: acme\.gift replaces everything"):
        bound(tmp_path, [CHANGE_ROW, lacking])
    with pytest.raises(
        InputError, match=r"no column for any of status, name, /…: every row of apex"
    ):
        bound(
            tmp_path,
            [{"operation": "apex.change", "gift_id": "g"}],
            operations={CHANGE.name: CHANGE},
        )


def test_a_named_operation_overrides_our_own_column(tmp_path: Path) -> None:
    rows = [{**CHANGE_ROW, "_operation": "acme.gift"}, {**CHANGE_ROW, "operation": ""}]
    found = bound(tmp_path, [rows[0], {**rows[1], "_operation": "apex.change"}])
    assert sorted(found.jobs) == [1, 2]


# ------------------------------------------------------------- one name, a whole and its parts


def test_a_column_of_another_operation_does_not_give_a_field_twice(tmp_path: Path) -> None:
    rows = [GIFT_ROW, {**CHANGE_ROW, "name": "Summer"}]
    for some in (rows, rows[::-1]):  # whichever of the columns comes first
        found = bound(tmp_path, some)
        assert found.errors == {}
        by_id = {job["gift_id"]: job for job in found.jobs.values()}
        assert by_id["g1"]["name"] == {"en-US": "A gift"}
        assert by_id["g2"]["changes"]["name"] == "Summer"


def test_such_a_column_is_empty_in_the_rows_that_give_the_parts(tmp_path: Path) -> None:
    rows = [{**CHANGE_ROW, "name": "Summer"}, {**GIFT_ROW, "name": '{"en-US": "x"}'}]
    found = bound(tmp_path, rows)
    assert "column name: a value in a column that acme.gift does not have" in found.errors[2]


def test_a_map_column_of_its_own_is_read_beside_a_text_of_that_name(tmp_path: Path) -> None:
    row = {name: cell for name, cell in GIFT_ROW.items() if name != "name.en-US"}
    rows = [{**row, "name": '{"en-US": "x"}'}, {**CHANGE_ROW, "name": "Summer"}]
    found = bound(tmp_path, rows)
    assert found.jobs[1]["name"] == {"en-US": "x"}
    assert found.jobs[2]["changes"]["name"] == "Summer"


@pytest.mark.parametrize(
    "rows",
    [
        [{**GIFT_ROW, "name": ""}],  # no other operation reads either of them
        [{**GIFT_ROW, "name": ""}, STATE_ROW],
        [GIFT_ROW, {**CHANGE_ROW, "name": "x", "Name": ""}],  # the other reads both, too
    ],
)
def test_a_field_given_twice_for_the_same_rows_stays_an_error(
    tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    with pytest.raises(InputError, match=r"name(\.en-US)? is given twice"):
        bound(tmp_path, rows)


# ------------------------------------------------------------------------ the sources' settings


def test_settings_of_unused_operations_have_no_effect(tmp_path: Path) -> None:
    inputs = {"acme.gift": InputSettings(rename={"status": "account"}, ignore=("/a",))}
    assert sorted(bound(tmp_path, [CHANGE_ROW, STATE_ROW], inputs=inputs).jobs) == [1, 2]
    found = bound(tmp_path, [GIFT_ROW | {"status": "shop"}], inputs=inputs)
    assert [where for where, _ in found.rows] == ["shop"]


def test_a_renamed_column_can_name_the_operation(tmp_path: Path) -> None:
    rows = [{"What": row.pop("operation"), **row} for row in (dict(CHANGE_ROW), dict(STATE_ROW))]
    inputs = {"apex.change": InputSettings(rename={"what": "operation"})}
    assert sorted(bound(tmp_path, rows, inputs=inputs).jobs) == [1, 2]
    renamed_by_another = {"acme.gift": InputSettings(rename={"what": "operation"})}
    assert sorted(bound(tmp_path, rows, inputs=renamed_by_another).jobs) == [1, 2]


def test_the_error_for_a_column_that_one_operation_ignores(tmp_path: Path) -> None:
    rows = [{**CHANGE_ROW, "loaded_at": "now"}, {**STATE_ROW, "loaded_at": "now"}]
    ignores = {"apex.change": InputSettings(ignore=("loaded_at",))}
    found = bound(tmp_path, rows, inputs=ignores)
    assert list(found.jobs) == [1]
    assert 'let [input."axis.state"] ignore the column' in found.invalid[0].hint
    both = {**ignores, "axis.state": InputSettings(ignore=("loaded*",))}
    assert sorted(bound(tmp_path, rows, inputs=both).jobs) == [1, 2]


def test_a_struct_of_nulls_is_an_empty_cell(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "operation": ["acme.gift", "axis.state", "axis.state"],
            "gift_id": ["g", None, None],
            "name": [{"en-US": "x"}, {"en-US": None}, {"en-US": "x"}],
            "most": [1, None, None],
            "offer": [None, "o", "o"],
            "status": [None, "1", "1"],
        }
    )
    inputs = {"acme.gift": InputSettings(missing="clear")}
    found = Bind(
        tmp_path,
        table,
        file="gifts.parquet",
        operation=None,
        operations=THREE,
        accounts=ONE_EACH,
        inputs=inputs,
    )
    assert sorted(found.jobs) == [1, 2]
    assert "column name: a value in a column that axis.state does not have" in found.errors[3]


# ------------------------------------------------------------------------- the vendors there are


def test_the_samples_of_all_operations_share_a_file(tmp_path: Path) -> None:
    vendors = load_vendors()
    operations = {op.name: op for one in vendors.values() for op in one.operations}
    accounts = {
        name: replace(
            SHOP, name=name, vendor=one, settings=sample(one, "http://127.0.0.1:1").settings
        )
        for name, one in vendors.items()
    }
    rows = [{"operation": op.name, **op.sample} for op in operations.values()]
    found = bound(tmp_path, rows, operations=operations, accounts=accounts)
    assert found.errors == {}
    assert {job.operation: where for where, job in found.rows} == {
        name: name.partition(".")[0] for name in operations
    }
