"""What `pipeline operations` tells of an operation, and what it gives to start from."""

from __future__ import annotations

import importlib
import re
import tomllib
from dataclasses import replace
from typing import Annotated, Any, Literal

import pytest
from pydantic import SecretStr

from pipeline.model import Cell, CellKind, UpdateJob
from pipeline.vendors import Defaults, Operation, Vendor, VendorSettings, load_vendors
from tests import acme
from tests.cli.command import typed
from tests.workplace import JOURNEY

cli = importlib.import_module("pipeline.cli.operations")  # the package's name is the command

VENDORS = load_vendors()
OPERATIONS = [(vendor, op) for vendor in VENDORS.values() for op in vendor.operations]


class Settings(VendorSettings):
    """One of each kind."""

    region: Literal["eu", "us"]
    key: SecretStr
    token: SecretStr | None = None
    scopes: tuple[str, ...] = ()
    sign_in_url: str = "https://acme.example/token"
    other: str | None = None
    max_batch: int = 2


class Fallback(UpdateJob):
    """Its changes have columns of their own."""

    gift_id: Annotated[str, Cell(CellKind.ID)]
    changes: Annotated[
        dict[str, Any],
        Cell(
            CellKind.MAP,
            is_spread=True,
            members=(
                ("status", Cell(CellKind.KEYWORD, help="On or off.", example="on")),
                ("add:/*", Cell(CellKind.TEXT, help="What is added.", example="x")),
            ),
        ),
    ]


def gifts(**changes: Any) -> Vendor[Any]:
    operation = replace(
        acme.PRICE,
        **{
            "name": "acme.gift",
            "summary": "A gift",
            "job_type": Fallback,
            "entity_kind": "gift",
            "replaces": False,
            "defaults": Defaults(("2/s", "9/min"), 1, 1.0),
            "sample": {"gift_id": "g", "region": "eu", "status": "on", "add:/tags/-": "x"},
            **changes,
        },
    )
    return replace(
        acme.ACME,
        settings=Settings,
        authenticate=lambda _s: None,
        operations=(operation,),
        simulated={
            "region": "eu",
            "key": "k",
            "token": "t",
            "scopes": ["a", "b"],
            "sign_in_url": "{origin}/token",
            "max_batch": 20,
        },
    )


XCORE = JOURNEY.format(url="http://127.0.0.1:9", in_flight=2, more="")
DPS = re.sub('api = "xcore"\ncontainer_id = "[^"]*"', 'api = "dps"', XCORE)


@pytest.mark.parametrize(("account", "warns"), [(DPS, False), (XCORE, True)], ids=["dps", "xcore"])
def test_an_account_of_an_api_that_has_ended_is_warned_about_and_works(tmp_path, account, warns):
    (tmp_path / "pipeline.toml").write_text(account)
    (tmp_path / "offers.csv").write_text("instance_id,status\no1,approved\n")
    found = typed(tmp_path, "check", "--operation", "adobe.fallback-offer", "offers.csv")
    assert found.code == 0
    words = " ".join(found.out.replace("│", " ").split())
    said = "account journey: xcore has ended: Adobe supported it until 2024-03-27. Move to api ="
    assert (said in words) is warns


def told(vendor: Vendor[Any], capsys: pytest.CaptureFixture[str]) -> str:
    cli._describe(vendor, vendor.operations[0])
    return " ".join(capsys.readouterr().out.split())


def test_members_with_columns_of_their_own_are_listed(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = told(gifts(), capsys)
    assert "gift_id * id" in text
    assert "status keyword On or off. on" in text
    assert "add:/… text What is added. x" in text
    assert "changes" not in text
    assert "At least one of status, add:/… is required in every row." in text
    assert "A name that ends in … stands for every header that starts with it." in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"batch_size": lambda s: s.max_batch}, "up to max_batch of the account, 2 by default"),
        ({"batch_size": lambda _s: 1}, None),  # whatever the account says
        ({"irreversible": lambda job: job.changes == {}}, "--allow irreversible"),
        ({"replaces": True}, "The update replaces the whole entity"),
        ({"always": ("status",)}, "Always required, a value or null: status."),
    ],
)
def test_a_rule_is_told_where_it_holds(
    capsys: Any, monkeypatch: Any, changes: dict[str, Any], said: str | None
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rules = ("up to max_batch", "--allow irreversible", "replaces the whole", "Always required")
    text = told(gifts(**changes), capsys)
    assert [rule for rule in rules if rule in text] == [
        rule for rule in rules if said and rule in said
    ]
    assert said is None or said in text


def test_the_template_of_a_file_leaves_out_what_the_account_says() -> None:
    vendor = gifts()
    assert cli.csv_template(vendor, vendor.operations[0]) == "gift_id,status,add:/tags/-\ng,on,x\n"


def test_the_template_of_an_account_holds_what_an_account_must_say() -> None:
    assert tomllib.loads(cli.toml_template(gifts(), "acme.gift")) == {
        "accounts": {
            "acme": {
                "vendor": "acme",
                "base_url": "https://acme.example.com",
                "region": "eu",
                "key": "env:ACME_KEY",
                "token": "env:ACME_TOKEN",  # has no default that works
                "scopes": ["a", "b"],
                "quota": ["2/s", "9/min"],
            }
        }
    }
    replacing = tomllib.loads(cli.toml_template(gifts(replaces=True), "acme.gift"))
    assert replacing["input"] == {"acme.gift": {"missing": "refuse"}}


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_an_account_made_from_the_template_is_one(vendor: Vendor[Any]) -> None:
    table = tomllib.loads(cli.toml_template(vendor))["accounts"][vendor.name]
    for key in ("vendor", "quota"):
        del table[key]
    vendor.settings.model_validate(table)


@pytest.mark.parametrize(("vendor", "operation"), OPERATIONS, ids=lambda each: each.name)
def test_no_column_goes_untold(
    vendor: Vendor[Any], operation: Operation[Any, Any], capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    cli._describe(vendor, operation)
    text = capsys.readouterr().out
    for field in cli.fields_of(operation.job_type).values():
        for column in field.columns:
            assert any(line.startswith(column.label + " ") for line in text.splitlines())
