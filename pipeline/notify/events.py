"""What people and programs are told of. Values: no cell of a row, no secret.

`LEVEL` is how much it matters, `OCCASION` under which name a webhook asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

Level = Literal["error", "warning", "info", "row"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info", "row")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A file is prepared and will be sent; `rows` of it are jobs, `invalid` are not."""

    LEVEL: ClassVar[Level] = "info"
    run: str
    file: str
    rows: int
    invalid: int
    accounts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFailed:
    """A row that leaves something to do. What the vendor said stands in the report only."""

    LEVEL: ClassVar[Level] = "row"
    run: str
    row: int
    account: str
    operation: str
    status: str
    code: str
    http_status: int | None
    attempts: int
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsLeftOut:
    """So many failed rows were not told one by one: there were too many at once."""

    LEVEL: ClassVar[Level] = "row"
    run: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEnded:
    """What became of the rows of one account. `stopped`: why it took no more; None: it went on."""

    LEVEL: ClassVar[Level] = "info"
    run: str
    account: str
    rows: int
    statuses: Mapping[str, int]
    requests: int
    retries: int
    sending_s: float
    stopped: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something is doubtful and stops nothing."""

    LEVEL: ClassVar[Level] = "warning"
    what: str
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run came to its end, and there is a report. `stopped`: why before its rows did."""

    LEVEL: ClassVar[Level] = "info"
    run: str
    file: str
    why: str
    exit_code: int
    rows: int
    statuses: Mapping[str, int]
    requests: int
    retries: int
    seconds: float
    stopped: str
    unusual: str
    report: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """A file was not sent, or its run broke off."""

    LEVEL: ClassVar[Level] = "error"
    file: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A dropped file was put away, and nothing of it was sent, or not all."""

    LEVEL: ClassVar[Level] = "error"
    file: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingArrived:
    """No file lay where one was expected."""

    LEVEL: ClassVar[Level] = "warning"
    where: str
    expected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A line for people."""

    LEVEL: ClassVar[Level] = "info"
    what: str


Event = (
    RunStarted
    | RowFailed
    | RowsLeftOut
    | AccountEnded
    | Warned
    | RunEnded
    | RunFailed
    | SetAside
    | NothingArrived
    | Said
)
