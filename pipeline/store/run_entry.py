"""The registry's entry of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from pipeline.model import Status, UsageError

State = Literal["prepared", "sending", "ended", "reported"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The registry's entry of a run.

    source      path of the input as the user named it; `sha256` is the digest of its bytes
    operations  rows per operation
    accounts    fingerprint of each account that rows go to, by name
    started     UTC, as is `ended`, which is None while the run is unfinished
    run_id      idempotency key from the scheduler; unique
    repeats     name of the earlier run with the same content
    continues   name of the run that this one continues
    counts      results per status, once ended
    exit_code   of the command, once ended
    sequence    position in time from 1, set by `add` and never reused; 0 before
    description checksum of the description in its folder; empty if there is none
    credentials digest of the credentials by account, once something was sent through it
    commits     last known commit of its own ledger; 0 if none is known
    """

    name: str
    source: str
    sha256: str
    rows: int
    started: datetime
    operations: Mapping[str, int] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    repeats: str | None = None
    continues: str | None = None
    state: State = "prepared"
    ended: datetime | None = None
    counts: Mapping[Status, int] = field(default_factory=dict)
    exit_code: int | None = None
    sequence: int = 0
    description: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict)
    commits: int = 0


def is_taken(owner: Run, run_id: str, sha256: str | None, path: object) -> UsageError:
    """The error for input that cannot be sent with an id of another run.

    owner   the run that has `run_id`
    sha256  of the input; None if it could not be read
    path    the input, for people

    >>> owner = Run(name="r1", source="a.csv", sha256="1", rows=1, started=datetime.min)
    >>> print(is_taken(owner, "nightly", "1", "b.csv"))
    another process works on run r1, which has the id nightly
    >>> print(is_taken(owner, "nightly", "2", "b.csv"))
    run id nightly belongs to run r1 of a.csv, and b.csv has other content. Give it an id of its own
    """
    if owner.sha256 != sha256:
        return UsageError(
            f"run id {run_id} belongs to run {owner.name} of {owner.source}, and {path} has other "
            "content. Give it an id of its own"
        )
    return UsageError(f"another process works on run {owner.name}, which has the id {run_id}")
