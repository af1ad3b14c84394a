"""Schedule templates, filled in with the user's paths.

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
    "ray": ("rayjob.yaml",),
    "airflow": ("offer_pipeline_dag.py",),
    "dockerfile": ("Dockerfile",),
}
"""Kind of schedule -> names of its files."""

WORKERS_OF: Mapping[str, tuple[str, ...]] = {"kubernetes": ("kubernetes-workers.yaml",)}
"""Kind of schedule whose runs workers of their own may send -> names of the files of those."""

LEDGER_PASSWORD = ("ledger_password", "PIPELINE_LEDGER_PASSWORD")

PLAIN_PATH = re.compile(r"[\w./@+,=-]+", re.ASCII)
"""A path that needs no quotes in any of the files."""


class _UnitPage(Template):
    delimiter = "@"  # `$` and `%` are the shell's, systemd's and cron's
    pattern = r"@\{(?P<braced>[a-z_]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment] # Template compiles it


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """The values of a schedule.

    folder    working folder, absolute
    pipeline  the command, absolute path
    python    the interpreter that has it, absolute path
    user      who runs it
    file      the file to send, below `folder`
    at        `HH:MM`, start of the run
    until     end of the run, as for `--until`
    secrets   (account, key) of the secrets that the configuration names
    has_ledger_password  it names that of its database, too
    workers   processes of its own that send; 0: the run sends by itself
    """

    folder: Path
    pipeline: Path
    python: Path
    user: str
    file: Path
    at: str
    until: str
    secrets: Sequence[tuple[str, str]]
    has_ledger_password: bool = False
    workers: int = 0


def pages(kind: str, spec: ScheduleSpec) -> dict[str, str]:
    """The files of a kind of schedule: name -> text."""
    values = _values(spec, names_ledger_password=spec.has_ledger_password or kind == "ray")
    folder = resources.files(__name__) / "templates"
    names = (*FILES[kind], *(WORKERS_OF[kind] if spec.workers else ()))
    return {
        name: _UnitPage((folder / f"{name}.in").read_text(encoding="utf-8")).substitute(values)
        for name in names
    }


def _values(spec: ScheduleSpec, *, names_ledger_password: bool) -> dict[str, str]:
    hour, _, minute = spec.at.partition(":")
    ledger = [LEDGER_PASSWORD] if names_ledger_password else []
    accounts = [(f"{account}_{key}", _variable(account, key)) for account, key in spec.secrets]
    names = [*ledger, *accounts]
    systemd = [
        line
        for name, variable in names
        for line in (
            f"LoadCredential={name}:{spec.folder}/secrets/{name}",
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
    by_workers = ["                - --workers", '                - "0"'] if spec.workers else []
    keys = "".join(f" --from-file={spec.folder}/secrets/{name}" for name, _ in names)
    docker = "".join(f" \\\n#   -e {variable}=file:/secrets/{name}" for name, variable in names)
    return {
        "folder": str(spec.folder),
        "pipeline": str(spec.pipeline),
        "python": str(spec.python),
        "user": spec.user,
        "file": str(spec.folder / spec.file),
        "file_below": str(spec.file),
        "at": spec.at,
        "hour": str(int(hour)),
        "minute": str(int(minute)),
        "until": spec.until,
        "protect_home": "no" if spec.folder.is_relative_to("/home") else "yes",
        "systemd_secrets": "\n".join(systemd) or "# (pipeline.toml names none)",
        "kubernetes_secret": f"# kubectl create secret generic offer-pipeline{keys}",
        "kubernetes_env": "\n".join(env) or "                # pipeline.toml names no secrets",
        "kubernetes_workers_env": "\n".join(line[4:] for line in env) or "            []",
        "kubernetes_by_workers": "".join(f"{line}\n" for line in by_workers),
        "workers": str(spec.workers),
        "docker_env": docker,
    }


def _variable(account: str, key: str) -> str:
    """The variable that overrides a key of an account.

    >>> _variable("my-shop", "api_key")
    'PIPELINE_ACCOUNTS__MY_SHOP__API_KEY'
    """
    name = re.sub(r"[^A-Za-z0-9]", "_", account).upper()
    return f"PIPELINE_ACCOUNTS__{name}__{key.upper()}"
