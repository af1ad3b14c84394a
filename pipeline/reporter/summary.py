"""`summary.json`: the figures of a run, and the checksums of the files beside it."""

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

_LEARNED = "auto"  # the quota of an account whose vendor states none
SUMMARY_NAME = "summary.json"
PAGE_NAME = "report.html"
Counts = dict[Status, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """Facts about one account of a run, without secrets.

    scope          project, container or the like; empty if the vendor has none
    quota          as configured, for example "20/s, 1000/min", or a default: `quota_assumed`
    quota_per_s    mean rate that it allows; 0 if it is learned
    rate_per_s     rate in force at the end; 0 if nothing limited it
    slowed_to      lowest quota set from another terminal during the run; empty if none was set
    requests       requests sent; `retries` of them were not the first of their row
    sending_s      seconds from the first request to the last reply
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


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class WorkerSummary(_Stored):
    """The work of one worker process: results that it recorded, requests that it sent."""

    name: str
    rows: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Facts about a run, besides its rows.

    started, ended  with time zone; `started` of a resumed run is the start of its first process
    legs            each process and account
    workers         those that sent shares of the run; none if it was sent by the process itself
    stopped_by      why the whole run ended early ("interrupted by SIGTERM"); empty if it did not
    cleared         operation -> fields that were left out and hence cleared
    kept            operations whose rows were merged with the state at the vendor
    settings        JSON values, without secrets
    tolerance       share of rows, 0 to 1, that may fail without exit code 1
    exit_code       None if it follows from the rows: 0 or 1
    unusual         a warning if far more rows failed than in earlier runs, else empty
    """

    started: datetime
    ended: datetime
    legs: tuple[Leg, ...] = ()
    workers: tuple[WorkerSummary, ...] = ()
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


class InputSummary(_Stored):
    """The input file. `selected` of its `rows` belong to the run."""

    file: str
    kind: Literal["csv", "parquet"]
    sha256: str
    bytes: int
    rows: int
    selected: int
    blank_lines: int


class OutputSummary(_Stored):
    """A result file; `name` is relative to the report's folder."""

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
    """The part of one process: a resumed run has several.

    started, ended  UTC, ISO 8601; `ended` of a killed process is its last recorded time
    seconds         from `started` to `ended`
    requests        requests sent, `retries` of them not the first of their row
    was_killed      True if its end is not recorded; requests after `ended` are not counted
    """

    started: str
    ended: str
    seconds: float
    requests: int
    retries: int
    was_killed: bool


class ErrorSummary(_Stored):
    """A kind of error: rows of one status and code; messages differ in names and numbers.

    message, hint  of the first such row
    rows           numbers of the first few rows
    """

    status: Status
    code: str
    message: str
    hint: str
    count: int
    rows: tuple[int, ...]


class AccountSummary(_Stored):
    """One account in this run.

    quota       "auto" if it was learned
    quota_used  share of the quota while it sent, 0 to 1; None if unknown
    rate_per_s  rate in force at the end; None if nothing limited it or nothing was sent
    slowed_to   lowest quota set from another terminal during the run; None if none was set
    stopped     why it stopped; None if it did not
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

    def quota_notes(self) -> Iterator[str]:
        """Yield notes about the quota: assumed, learned or changed during the run."""
        if self.quota_assumed:
            yield f"{self.quota} is assumed; set `quota` to what your contract states"
        if self.quota == _LEARNED and self.rate_per_s is not None:
            yield f"learned from the replies; {self.rate_per_s:,.1f} requests/s at the end"
        if self.slowed_to is not None:
            yield f"slowed down to {self.slowed_to} by `pipeline runs --quota`"


class Summary(_Stored):
    """A whole run.

    why               one sentence
    statuses          every status, zeros included; their sum is `rows`
    without_account   statuses of the rows that have no account
    operations        statuses per operation; "" for rows that name none
    started, ended    UTC, ISO 8601
    seconds           sum over the legs
    rows_per_s        rows for which a request was sent, per second of `seconds`
    legs              each process, in order; one unless the run was resumed
    workers           worker processes that sent shares of the run
    errors            most frequent kinds first; rows of other kinds are only counted in
                      `errors_not_listed`
    outputs           `success` and `errors`
    unusual           a warning if far more rows failed than in earlier runs, else empty; it is
                      among `warnings` too
    page              None if the report has none
    made_of           the source of its rows
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
    workers: tuple[WorkerSummary, ...] = ()
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
        """The content of `summary.json`."""
        return self.model_dump_json(indent=2) + "\n"

    def one_line(self) -> str:
        """The summary as one line of JSON, for programs."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"))


def exit_code(counts: Mapping[Status, int], tolerance: float = 0.0) -> int:
    """Return 0 if all rows succeeded, or if at most `tolerance` of them failed and none is unknown.

    tolerance  share of all rows, 0 to 1

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
    """Read the summary of a report. Raises ReportError if the file is none."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: the summary cannot be read: {error.strerror}") from error
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
