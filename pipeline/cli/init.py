"""`pipeline init`: the folders and a configuration to start from."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.operations import toml_template
from pipeline.config.configuration import DEFAULT_FILE
from pipeline.vendors import load_vendors

HEADER = """\
# Accounts, quotas and paths. Relative paths start from this file's folder.
# Secrets are references: "env:NAME", "file:PATH" or "command:PROGRAM ARGUMENTS".

inputs = "inputs"
reports = "reports"
# timezone = "Europe/Berlin"  # for dates without an offset; without it they are errors

"""


@click.command()
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), required=False
)
def init(folder: Path) -> None:
    """Make a working folder: pipeline.toml, inputs/, reports/.

    Nothing that exists is changed.
    """
    vendors = load_vendors()
    file = folder / DEFAULT_FILE
    names = [operation.name for vendor in vendors.values() for operation in vendor.operations]
    for made in (*(folder / "inputs" / name for name in names), folder / "reports"):
        made.mkdir(parents=True, exist_ok=True)
    if file.exists():
        click.echo(f"{file} exists and stays as it is.")
    else:
        tables = [toml_template(v, *(op.name for op in v.operations)) for v in vendors.values()]
        file.write_text(HEADER + "\n".join(tables), encoding="utf-8")
        click.echo(f"Wrote {file}: fill in your account.")
    click.echo(f"Drop files into {folder / 'inputs'}/<operation>/: {', '.join(names)}.")
    click.echo("Then: pipeline check FILE, and pipeline run FILE.")
