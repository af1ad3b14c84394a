"""`pipeline init`: the folders and a configuration to start from."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import click

from pipeline.cli.operations import toml_template
from pipeline.cli.schedules import FILES, PLAIN_PATH, ScheduleSpec, pages
from pipeline.config import Config, load_config
from pipeline.config.configuration import DEFAULT_FILE
from pipeline.config.secrets import secret_keys
from pipeline.model import UsageError
from pipeline.vendors import load_vendors

HEADER = """\
# Accounts, quotas and paths. Relative paths start from this file's folder.
# Secrets are references: "env:NAME", "file:PATH" or "command:PROGRAM ARGUMENTS".

inputs = "inputs"
reports = "reports"
# timezone = "Europe/Berlin"  # for dates without an offset; without it they are errors

"""


def _schedules(command: Callable[..., None]) -> Callable[..., None]:
    """A flag per kind of schedule."""
    for kind in reversed(list(FILES)):
        flag = click.option(f"--{kind}", "kind", flag_value=kind, help="Print a schedule.")
        command = flag(command)
    return command


@click.command()
@_schedules
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), required=False
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the schedule there instead.",
)
@click.option(
    "--file", "sent", type=click.Path(path_type=Path), help="What it sends, below the folder."
)
def init(folder: Path, kind: str | None, into: Path | None, sent: Path | None) -> None:
    """Make a working folder: pipeline.toml, inputs/, reports/. Or print a schedule for it.

    Nothing that exists is changed.
    """
    if kind is None:
        _make(folder)
        return
    found = pages(kind, _night(folder.resolve(), sent))
    if into is None:
        click.echo("\n".join(_headed(name, text, of=len(found)) for name, text in found.items()))
        return
    into.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        try:
            with (into / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise UsageError(f"{into / name} exists, and stays as it is") from None
        click.echo(f"Wrote {into / name}.")


def _headed(name: str, text: str, *, of: int) -> str:
    return text.rstrip("\n") if of == 1 else f"# file: {name}\n{text}"


def _night(folder: Path, sent: Path | None) -> ScheduleSpec:
    """What the schedule is about, from the folder's own configuration. Raises UsageError."""
    file = folder / DEFAULT_FILE
    if not file.exists():
        raise UsageError(f"{file} does not exist: `pipeline init {folder}` makes it")
    config = load_config(file, environ={}, vendors=load_vendors(), cwd=folder)
    command = Path(shutil.which("pipeline") or Path(sys.executable).parent / "pipeline")
    user = "pipeline" if os.geteuid() == 0 else getpass.getuser()  # never root
    below = sent or Path("inputs") / _operation(config) / "nightly.csv"
    for path in (folder, command, below):
        if not PLAIN_PATH.fullmatch(str(path)):
            raise UsageError(
                f"{path}: a schedule needs a path of letters, digits and ./_-@+,= alone; "
                "cron, systemd and shells each quote others in another way"
            )
    if below.is_absolute() or ".." in below.parts:
        raise UsageError(f"--file {below} should be a path below {folder}")
    secrets = [
        (name, key)
        for name, entry in config.accounts.items()
        for key in sorted(secret_keys(entry.vendor) & entry.given.keys())
    ]
    return ScheduleSpec(
        folder=folder,
        pipeline=command,
        user=user,
        file=below,
        at="02:30",
        until="06:30" if config.timezone else "06:30+00:00",
        secrets=secrets,
    )


def _operation(config: Config) -> str:
    """What the first account is for."""
    vendors = [entry.vendor for entry in config.accounts.values()] or [*load_vendors().values()]
    return vendors[0].operations[0].name


def _make(folder: Path) -> None:
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
