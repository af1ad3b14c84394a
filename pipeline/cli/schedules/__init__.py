"""Schedules to start from: the templates beside this file, filled in with the user's own paths.

Not here: the times at which a run begins and ends (`run/schedule_window.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

FILES: Mapping[str, tuple[str, ...]] = {
    "cron": ("cron",),
    "systemd": ("offer-pipeline.service", "offer-pipeline.timer"),
    "kubernetes": ("kubernetes.yaml",),
    "airflow": ("offer_pipeline_dag.py",),
    "dockerfile": ("Dockerfile",),
}
"""Per kind of schedule the names of its files."""

PLAIN_PATH = re.compile(r"[\w./@+,=-]+", re.ASCII)
"""What stands in every one of the files without quotes."""


class _UnitPage(Template):
    delimiter = "@"  # `$` and `%` are the shell's, systemd's and cron's
    pattern = r"@\{(?P<braced>[a-z_]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment] # Template compiles it


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """What a schedule is about.

    folder    the working folder, absolute
    pipeline  the command, absolute
    user      who runs it
    file      what is sent, below `folder`
    at        `HH:MM`, when it begins
    until     when it stops at the latest, as `--until` takes it
    secrets   (account, key) of the secrets that the configuration names
    """

    folder: Path
    pipeline: Path
    user: str
    file: Path
    at: str
    until: str
    secrets: Sequence[tuple[str, str]]


def pages(kind: str, night: ScheduleSpec) -> dict[str, str]:
    """The files of a kind of schedule: name -> text."""
    values = _values(night)
    folder = resources.files(__name__) / "templates"
    return {
        name: _UnitPage((folder / f"{name}.in").read_text(encoding="utf-8")).substitute(values)
        for name in FILES[kind]
    }


def _values(night: ScheduleSpec) -> dict[str, str]:
    hour, _, minute = night.at.partition(":")
    names = [(f"{account}_{key}", _variable(account, key)) for account, key in night.secrets]
    systemd = [
        line
        for name, variable in names
        for line in (
            f"LoadCredential={name}:{night.folder}/secrets/{name}",
            f"Environment={variable}=file:%d/{name}",
        )
    ]
    env = [
        line
        for name, variable in names
        for line in (
            f"                - name: {variable}",
            f"                  value: file:/secrets/{name}",
        )
    ]
    keys = "".join(f" --from-file={night.folder}/secrets/{name}" for name, _ in names)
    docker = "".join(f" \\\n#   -e {variable}=file:/secrets/{name}" for name, variable in names)
    return {
        "folder": str(night.folder),
        "pipeline": str(night.pipeline),
        "user": night.user,
        "file": str(night.folder / night.file),
        "file_below": str(night.file),
        "at": night.at,
        "hour": str(int(hour)),
        "minute": str(int(minute)),
        "until": night.until,
        "protect_home": "no" if night.folder.is_relative_to("/home") else "yes",
        "systemd_secrets": "\n".join(systemd) or "# (pipeline.toml names none)",
        "kubernetes_secret": f"# kubectl create secret generic offer-pipeline{keys}",
        "kubernetes_env": "\n".join(env) or "                # pipeline.toml names no secrets",
        "docker_env": docker,
    }


def _variable(account: str, key: str) -> str:
    """The variable that overrides a key of an account.

    >>> _variable("my-shop", "api_key")
    'PIPELINE_ACCOUNTS__MY_SHOP__API_KEY'
    """
    name = re.sub(r"[^A-Za-z0-9]", "_", account).upper()
    return f"PIPELINE_ACCOUNTS__{name}__{key.upper()}"
