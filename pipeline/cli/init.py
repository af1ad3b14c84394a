"""`pipeline init`: create a working folder, or print a schedule for it."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from pipeline.cli.console import emit
from pipeline.cli.operations import toml_template
from pipeline.cli.schedules import FILES, PLAIN_PATH, WORKERS_OF, ScheduleSpec, pages
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

PRINTED = {
    "cron": "a crontab",
    "systemd": "a systemd service and timer",
    "kubernetes": "a Kubernetes CronJob",
    "ray": "a RayJob for KubeRay",
    "airflow": "an Airflow DAG",
    "dockerfile": "a Dockerfile",
}
"""Flag -> the files that it prints."""


def _schedules(command: Callable[..., None]) -> Callable[..., None]:
    """Add a flag per kind of schedule."""
    for kind in reversed(list(FILES)):
        flag = click.option(f"--{kind}", "kind", flag_value=kind, help=f"Print {PRINTED[kind]}.")
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
    help="Write the schedule to this folder instead.",
)
@click.option(
    "--file",
    "sent",
    type=click.Path(path_type=Path),
    help="File that the schedule sends, below FOLDER.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="With --kubernetes: a Job of N workers sends the runs.",
)
def init(
    folder: Path, kind: str | None, into: Path | None, sent: Path | None, workers: int | None
) -> None:
    """Create a working folder: pipeline.toml, inputs/, reports/. Or print a schedule.

    Existing files are not changed.
    """
    if workers is not None and kind not in WORKERS_OF:
        raise UsageError(f"--workers needs --{' or --'.join(WORKERS_OF)}")
    try:
        if kind is None:
            _make(folder)
        else:
            _print_or_write(pages(kind, _schedule(folder.resolve(), sent, workers or 0)), into)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from error


def _print_or_write(found: Mapping[str, str], into: Path | None) -> None:
    if into is None:
        emit("\n".join(_headed(name, text, of=len(found)) for name, text in found.items()))
        return
    into.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        try:
            _write_new(into / name, text)
        except FileExistsError:
            raise UsageError(f"{into / name} exists and was not changed") from None
        emit(f"Wrote {into / name}.")


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet. Raises OSError: then none is left."""
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError as error:
            path.unlink()
            error.filename = path
            raise


def _headed(name: str, text: str, *, of: int) -> str:
    return text.rstrip("\n") if of == 1 else f"# file: {name}\n{text}"


def _schedule(folder: Path, sent: Path | None, workers: int) -> ScheduleSpec:
    """The values of a schedule, from the folder's configuration. Raises UsageError."""
    file = folder / DEFAULT_FILE
    if not file.exists():
        raise UsageError(f"{file} does not exist: create it with `pipeline init {folder}`")
    config = load_config(file, environ={}, vendors=load_vendors(), cwd=folder)
    if workers and config.database is None:
        raise UsageError(
            "--workers needs a ledger that every pod reaches, and that of this folder is a file. "
            'Set ledger = "postgresql://..."'
        )
    command = Path(shutil.which("pipeline") or Path(sys.executable).parent / "pipeline")
    user = "pipeline" if os.geteuid() == 0 else getpass.getuser()  # never root
    below = sent or Path("inputs") / _operation(config) / "nightly.csv"
    python = Path(sys.executable)
    for path in (folder, command, python, below):
        if not PLAIN_PATH.fullmatch(str(path)):
            raise UsageError(
                f"{path}: a schedule needs a path of only letters, digits and ./_-@+,=; "
                "cron, systemd and shells quote other characters differently"
            )
    if below.is_absolute() or ".." in below.parts:
        raise UsageError(f"--file {below} must be a path below {folder}")
    secrets = [
        (name, key)
        for name, entry in config.accounts.items()
        for key in sorted(secret_keys(entry.vendor) & entry.given.keys())
    ]
    return ScheduleSpec(
        folder=folder,
        pipeline=command,
        python=python,
        user=user,
        file=below,
        at="02:30",
        until="06:30" if config.timezone else "06:30+00:00",
        secrets=secrets,
        has_ledger_password=config.database is not None and config.database.has_reference,
        workers=workers,
    )


def _operation(config: Config) -> str:
    """The first operation of the first account's vendor."""
    vendors = [entry.vendor for entry in config.accounts.values()] or [*load_vendors().values()]
    return vendors[0].operations[0].name


def _make(folder: Path) -> None:
    vendors = load_vendors()
    file = folder / DEFAULT_FILE
    names = [operation.name for vendor in vendors.values() for operation in vendor.operations]
    for made in (*(folder / "inputs" / name for name in names), folder / "reports"):
        made.mkdir(parents=True, exist_ok=True)
    if file.exists():
        emit(f"{file} exists and was not changed.")
    else:
        tables = [toml_template(v, *(op.name for op in v.operations)) for v in vendors.values()]
        _write_new(file, HEADER + "\n".join(tables))
        emit(f"Wrote {file}: fill in your accounts.")
    emit(f"Drop files into {folder / 'inputs'}/<operation>/: {', '.join(names)}.")
    emit("Then: pipeline check FILE, and pipeline run FILE.")
