"""`summary.json`: what a run did, as values. It vouches for the result files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.model import SUCCESS, Status
from pipeline.model.leg import Leg
from pipeline.model.plan import MadeOf
from pipeline.reporter.errors import ReportError

FORMAT = 1
NOTHING_SENT = 2
"""The exit code of a run that was refused."""

_LEARNED = "auto"  # the quota of an account whose vendor states none
SUMMARY_NAME = "summary.json"
PAGE_NAME = "report.html"
Counts = dict[Status, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """What the run knows about one account, without secrets.

    scope            project, container or the like; empty where the vendor has none
    quota            as configured, for example "20/s, 1000/min"; `quota_assumed` where it was not
    quota_per_s      the mean rate which that allows; 0 where it is learned
    rate_per_s       in force at the end; 0 where nothing bounded it
    slowed_to        the slowest quota that another terminal asked for; empty where none did
    requests         that left, retries included; `retries` of them were not the first of their row
    sending_s        seconds from the first request to the last answer
    """

    name: str
    vendor: str
    host: str
    scope: str = ""
    quota: str = ""
    quota_assumed: bool = False
    quota_per_s: float = 0.0
    rate_per_s: float = 0.0
    slowed_to: str = ""
    requests: int = 0
    retries: int = 0
    sending_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a report says about a run beside its rows.

    started, ended  with their offset; of a resumed run `started` is when its first process began
    legs            what each process did for each account
    stopped_by      why the whole run ended early ("interrupted by SIGTERM"); empty where it did not
    cleared         operation -> fields that were left out and hence cleared
    kept            operations whose rows were laid over what the vendor holds
    settings        JSON values, without secrets
    tolerance       share of rows, 0 to 1, that may fail without an exit code of 1
    exit_code       None where it follows from the rows: 0 or 1
    unusual         that far more rows failed than in earlier runs; empty where that is not so
    """

    started: datetime
    ended: datetime
    legs: tuple[Leg, ...] = ()
    accounts: tuple[AccountFacts, ...] = ()
    is_simulated: bool = False
    stopped_by: str = ""
    warnings: tuple[str, ...] = ()
    cleared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 0.0
    exit_code: int | None = None
    unusual: str = ""
    made_of: MadeOf = "file"


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True)


class InputSummary(_Stored):
    """The input as it stood on disk. `selected` of its `rows` were asked for."""

    file: str
    kind: Literal["csv", "parquet"]
    sha256: str
    bytes: int
    rows: int
    selected: int
    blank_lines: int


class OutputSummary(_Stored):
    """A result file, by its name in the report's folder."""

    name: str
    rows: int
    bytes: int
    sha256: str


class PageSummary(_Stored):
    """The page beside the result files."""

    name: str
    bytes: int
    sha256: str


class LegSummary(_Stored):
    """What one process did: a run that was resumed has several.

    started, ended  UTC, ISO 8601; of a process that was killed `ended` is its last sign of life
    seconds         between the two
    requests        that left, `retries` of them not the first of their row
    was_killed      whether it ended without saying so; what it did after `ended` is not counted
    """

    started: str
    ended: str
    seconds: float
    requests: int
    retries: int
    was_killed: bool


class ErrorSummary(_Stored):
    """One kind of error: rows of one status and code whose words differ in names and numbers only.

    message, hint  of the first such row
    rows           the first few
    """

    status: Status
    code: str
    message: str
    hint: str
    count: int
    rows: tuple[int, ...]


class AccountSummary(_Stored):
    """One account in this run.

    quota       "auto" where it was learned
    quota_used  share of the allowance while it sent, 1 is all of it; None where unknown
    rate_per_s  in force at the end; None where nothing bounded it or nothing was sent
    slowed_to   the slowest quota that another terminal asked for; None where none did
    stopped     why it took no more rows; None where it did not stop
    """

    vendor: str
    host: str
    scope: str
    quota: str
    quota_assumed: bool
    quota_used: float | None
    requests: int
    retries: int
    sending_s: float
    rows: int
    statuses: Counts
    stopped: str | None
    rate_per_s: float | None = None
    slowed_to: str | None = None

    def about_quota(self) -> Iterator[str]:
        """What is worth knowing of the pace that was kept."""
        if self.quota_assumed:
            yield f"{self.quota} is assumed; set `quota` to what your contract states"
        if self.quota == _LEARNED and self.rate_per_s is not None:
            yield f"learned from the replies; {self.rate_per_s:,.1f} requests/s at the end"
        if self.slowed_to is not None:
            yield f"slowed down to {self.slowed_to}, as was asked for while it went"


class Summary(_Stored):
    """A whole run.

    why               one sentence
    statuses          every status, zeros included; their sum is `rows`
    without_account   the part of them that belongs to no account
    operations        the same per operation; "" for rows that named none
    started, ended    UTC, ISO 8601
    seconds           in which a process worked on it: the legs together
    rows_per_s        rows for which a request left, per second of those
    legs              what each process did, in order; one unless the run was resumed
    errors            most frequent kinds first; rows of other kinds are only counted in
                      `errors_not_listed`
    outputs           `success` and `errors`
    unusual           that far more rows failed than in earlier runs; a warning says it too
    page              None in a report that has none
    made_of           what its rows came from
    """

    format: Literal[1] = 1
    run: str
    why: str
    exit_code: int
    is_simulated: bool
    input: InputSummary
    rows: int
    statuses: Counts
    accounts: dict[str, AccountSummary]
    without_account: Counts
    operations: dict[str, Counts] = {}
    requests: int
    retries: int
    started: str
    ended: str
    seconds: float
    rows_per_s: float
    legs: tuple[LegSummary, ...] = ()
    stopped: str
    errors: tuple[ErrorSummary, ...]
    errors_not_listed: int
    warnings: tuple[str, ...]
    cleared: dict[str, tuple[str, ...]]
    kept: tuple[str, ...] = ()
    outputs: dict[str, OutputSummary]
    page: PageSummary | None = None
    unusual: str = ""
    made_of: MadeOf = "file"
    settings: dict[str, Any]
    versions: dict[str, str]

    def text(self) -> str:
        """The summary as it stands in its file."""
        return self.model_dump_json(indent=2) + "\n"

    def one_line(self) -> str:
        """The summary as one line of JSON, for a program that reads it."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"))


def exit_code(counts: Mapping[Status, int], tolerance: float = 0.0) -> int:
    """0 where all rows succeeded, or at most that share did not and none of them is unknown.

    >>> exit_code({Status.UPDATED: 99, Status.REJECTED: 1}, tolerance=0.01)
    0
    >>> exit_code({Status.UPDATED: 99, Status.UNKNOWN: 1}, tolerance=0.01)
    1
    """
    total = sum(counts.values())
    wrong = total - sum(counts.get(status, 0) for status in SUCCESS)
    if not wrong:
        return 0
    return int(bool(counts.get(Status.UNKNOWN)) or wrong > tolerance * total)


def read_summary(path: Path) -> Summary:
    """The summary of a report, from its file. Raises ReportError where it is none."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: no summary can be read: {error.strerror}") from error
    try:
        return Summary.model_validate_json(text)
    except ValidationError as error:
        raise ReportError(f"{path}: {_what_is_wrong(text)}") from error


def _what_is_wrong(text: bytes) -> str:
    try:
        found = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError):
        return "not a summary of a run"
    if isinstance(found, int) and found > FORMAT:
        return f"written in format {found}; this version reads up to {FORMAT}. Update the program"
    return "a damaged summary"
