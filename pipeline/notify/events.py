"""Events for logs and webhooks, without cells of rows and without secrets.

`LEVEL` is the log level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

Level = Literal["error", "warning", "info", "row"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info", "row")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A run starts: `rows` of the file are sent, `invalid` are not."""

    LEVEL: ClassVar[Level] = "info"
    run: str
    file: str
    rows: int
    invalid: int
    accounts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFailed:
    """A row failed. The vendor's message is in the report only."""

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
    """Failed rows that were not logged one by one: more than 20 in a second."""

    LEVEL: ClassVar[Level] = "row"
    run: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEnded:
    """The results of one account. `stopped`: why it stopped, if it did."""

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
    """A warning; the run continues."""

    LEVEL: ClassVar[Level] = "warning"
    what: str
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run ended, with a report. `stopped`: why it stopped early, if it did."""

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
    """A file was not sent, its run failed, or it cannot be moved."""

    LEVEL: ClassVar[Level] = "error"
    file: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A dropped file was quarantined: it was not or not completely sent."""

    LEVEL: ClassVar[Level] = "error"
    file: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingArrived:
    """An expected file did not arrive."""

    LEVEL: ClassVar[Level] = "warning"
    where: str
    expected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A line of the output for people."""

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
    | Quarantined
    | NothingArrived
    | Output
)
