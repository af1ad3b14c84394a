"""`pipeline operations`: list operations and their columns."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from pipeline.cli.console import emit, terminal
from pipeline.config.secrets import secret_keys
from pipeline.config.simulated import sample
from pipeline.loader.fields import fields_of
from pipeline.loader.suggestions import nearest
from pipeline.model import UsageError
from pipeline.vendors import Operation, Vendor, load_vendors

REFUSED = '"refuse"  # a row that omits a field; "keep" keeps the old value, "clear" clears it'


@click.command(short_help="List operations and their columns, types and rules.")
@click.argument("name", required=False)
@click.option(
    "--template",
    type=click.Choice(["csv", "toml"]),
    help="Print a template: a file with an example row, or an account's configuration.",
)
def operations(name: str | None, template: str | None) -> None:
    """Show the columns, types and rules of an operation.

    NAME is an operation, such as xsolla.coupon. Without NAME, all operations are listed.
    """
    vendors = load_vendors()
    if name is None:
        if template:
            raise UsageError("--template needs an operation, for example: xsolla.coupon")
        _list(vendors)
        return
    vendor, operation = _find(vendors, name)
    if template == "csv":
        emit(csv_template(vendor, operation), end="")
    elif template == "toml":
        emit(toml_template(vendor, operation.name), end="")
    else:
        _describe(vendor, operation)


def _find(vendors: dict[str, Vendor[Any]], name: str) -> tuple[Vendor[Any], Operation[Any, Any]]:
    known = {op.name: (vendor, op) for vendor in vendors.values() for op in vendor.operations}
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"unknown operation {name!r}; {hint}")
    return known[name]


def _list(vendors: dict[str, Vendor[Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("operation", style="bold", no_wrap=True)
    table.add_column("what it does")
    for vendor in vendors.values():
        for operation in vendor.operations:
            table.add_row(operation.name, escape(operation.summary))
    console = terminal()
    console.print(table)
    console.print("\nColumns and rules: pipeline operations NAME")


def _describe(vendor: Vendor[Any], operation: Operation[Any, Any]) -> None:
    console = terminal()
    console.print(f"[bold]{operation.name}[/]  {escape(operation.summary)}\n")
    table = Table(box=None, pad_edge=False)
    table.add_column("column", style="bold", no_wrap=True)
    table.add_column("cell", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    table.add_column("example", overflow="fold")
    for field in fields_of(operation.job_type).values():
        for column in field.columns:
            table.add_row(
                escape(column.label) + (" *" if column.is_required else ""),
                column.cell.kind.value + (" or null" if column.is_nullable else ""),
                escape(column.cell.help),
                escape(column.cell.example),
            )
    console.print(table)
    for line in _facts(vendor, operation):
        console.print(f"- {escape(line)}")


def _facts(vendor: Vendor[Any], operation: Operation[Any, Any]) -> list[str]:
    defaults = operation.defaults
    facts = ["* is required in every row. The word omit in a cell leaves the field out on purpose."]
    facts += _rules(operation)
    facts.append(f"Repeating a request: {operation.repeat_note}.")
    reading = operation.reading
    facts.append(
        "Verification read: not possible; a row in doubt that must not be repeated ends unknown."
        if reading is None
        else "Verification read: resolves a row in doubt, as applied at once if the vendor holds "
        f"it, as not applied {reading.settle_after_s:g} s after the attempt began."
    )
    facts += _batches(vendor, operation)
    facts.append(
        f"Defaults of an account: quota {', '.join(defaults.quota)} (assumed, {vendor.name} states "
        f"none), in_flight {defaults.in_flight}, timeout {defaults.timeout_s:g} s."
    )
    facts.append(f"Template: pipeline operations {operation.name} --template csv")
    return facts


def _rules(operation: Operation[Any, Any]) -> list[str]:
    """Requirements beyond the columns with an asterisk."""
    rules = []
    for field in fields_of(operation.job_type).values():
        if field.cell.is_spread and field.is_required:
            labels = ", ".join(column.label for column in field.columns)
            rules.append(f"At least one of {labels} is required in every row.")
        if any(column.is_pattern for column in field.columns):
            rules.append("A name that ends in … stands for every header that starts with it.")
    if operation.replaces:
        rules.append(
            "The update replaces the whole entity and clears omitted fields. A file without one "
            'of these columns is refused unless its input says missing = "clear".'
        )
    if operation.always:
        rules.append(f"Always required, a value or null: {', '.join(operation.always)}.")
    if operation.irreversible is not type(operation).irreversible:
        rules.append("A row that cannot be undone is sent only with --allow irreversible.")
    return rules


def _batches(vendor: Vendor[Any], operation: Operation[Any, Any]) -> list[str]:
    """How many rows may share a request, judged by an account of the samples."""
    size = operation.batch_size(sample(vendor, "http://127.0.0.1").settings)
    if size <= 1:
        return []
    most = f"{size}"
    if setting := vendor.settings.model_fields.get("max_batch"):
        most = f"max_batch of the account, {setting.default} by default"
    return [f"Rows with the same change may share a request: up to {most}."]


def csv_template(vendor: Vendor[Any], operation: Operation[Any, Any]) -> str:
    """A header line and one realistic row, without columns that the account sets."""
    settings = vendor.settings.model_fields
    row = {name: cell for name, cell in operation.sample.items() if name not in settings}
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([row.keys(), row.values()])
    return text.getvalue()


def toml_template(vendor: Vendor[Any], *operation_names: str) -> str:
    """The configuration tables that operations need, ready to fill in.

    The account is named after its vendor, so tables of several vendors can be combined.
    """
    lines = [f"[accounts.{vendor.name}]", f'vendor = "{vendor.name}"', *_settings(vendor)]
    quota = ", ".join(f'"{text}"' for text in vendor.operations[0].defaults.quota)
    lines.append(f"quota = [{quota}]  # as your contract states it; all hold at once")
    lines.append('# quota = "auto"  # if no contract states it: learned from the replies')
    replacing = {operation.name for operation in vendor.operations if operation.replaces}
    for name in operation_names:
        if name in replacing:
            lines += ["", f'[input."{name}"]', f"missing = {REFUSED}"]
    lines.append("")
    return "\n".join(lines)


def _settings(vendor: Vendor[Any]) -> list[str]:
    """Required settings, and those that the samples' account sets."""
    examples = {"base_url": f"https://{vendor.name}.example.com", **vendor.simulated}
    secrets = secret_keys(vendor)
    lines = []
    for name, info in vendor.settings.model_fields.items():
        if not info.is_required() and (info.default or name not in vendor.simulated):
            continue
        variable = f"{vendor.name}_{name}".upper()
        example = (
            f"env:{variable}" if name in secrets else (info.examples or [examples.get(name)])[0]
        )
        lines.append(f"{name} = {json.dumps(example)}" + ("" if name in secrets else "  # yours"))
    return lines
