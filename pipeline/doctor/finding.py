"""Findings: the results of checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pipeline.model import Fault


class Level(Enum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check. Holds no secret. The names of its fields are keys of `--json`.

    check    the subject: "configuration", "clock", "credentials", ...
    what     the result, a phrase without a full stop
    fix     what to do about it; empty if nothing
    account  None if it concerns the machine or all accounts
    """

    level: Level
    check: str
    what: str
    fix: str = ""
    account: str | None = None


def of_faults(
    faults: Iterable[Fault], check: str, fix: str, account: str | None = None
) -> tuple[Finding, ...]:
    """Faults of the configuration as findings; `fix` is for faults without a remedy of their own.

    >>> of_faults([Fault(what="is not set")], "secrets", "Set it")[0].fix
    'Set it'
    """
    return tuple(
        Finding(
            level=Level.FAULT,
            check=check,
            what=_without_todo(fault),
            fix=fault.todo or fix,
            account=account,
        )
        for fault in faults
    )


def _without_todo(fault: Fault) -> str:
    return str(fault).removesuffix(f". {fault.todo}") if fault.todo else str(fault)
