"""The progress of a share: what its workers leave in the registry, and what displays show. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.model import AccountProgress, Status
from pipeline.model.progress import RecentError
from pipeline.vendors import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one process did for a share.

    who       of the process, for people
    rows      results that it recorded
    requests  that it sent
    """

    who: str
    rows: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareProgress:
    """A share at one moment.

    limits        the limits of the account for all workers, as text: they must be the same
    work          of each process, in order; the last one has the share now, or had it last
    done          results of the share in all, per status
    is_permanent  True if every further file for the account would stop it too

    The others as in AccountProgress, of all processes together.
    """

    limits: str = ""
    work: tuple[Work, ...] = ()
    done: Mapping[Status, int] = field(default_factory=dict)
    sent: int = 0
    retries: int = 0
    sending_s: float = 0.0
    in_flight: int = 0
    in_flight_limit: int = 0
    retrying: int = 0
    pause_left_s: float = 0.0
    rate_per_s: float = 0.0
    is_probing: bool = False
    is_held_up: bool = False
    is_permanent: bool = False
    recent_errors: tuple[RecentError, ...] = ()

    @property
    def text(self) -> str:
        """JSON for `parse_progress`.

        >>> parse_progress(ShareProgress(sent=7).text).sent
        7
        """
        return json.dumps(asdict(self), separators=(",", ":"))

    @property
    def rows(self) -> int:
        """Results in all, without those of rows that were not sent."""
        return sum(self.done.values()) - self.done.get(Status.NOT_ATTEMPTED, 0)

    def at_rest(self) -> ShareProgress:
        """The same once nobody works on it."""
        return replace(self, in_flight=0, retrying=0, rate_per_s=0.0, pause_left_s=0.0)


def parse_progress(text: str) -> ShareProgress:
    """Parse `ShareProgress.text`; an empty text is a share that nobody has begun."""
    if not text:
        return ShareProgress()
    found: dict[str, Any] = json.loads(text)
    known = {name: found[name] for name in ShareProgress.__dataclass_fields__ if name in found}
    known["work"] = tuple(Work(**each) for each in known.get("work", ()))
    known["done"] = {Status(name): count for name, count in known.get("done", {}).items()}
    known["recent_errors"] = tuple(map(RecentError._make, known.get("recent_errors", ())))
    return ShareProgress(**known)


def limits_text(account: Account) -> str:
    """The limits of an account, which all workers of a run must agree on."""
    pacing = "strict" if account.is_strict else "even"
    return (
        f"{account.quota} in {account.shares} shares, in_flight = {account.in_flight}, "
        f'pacing = "{pacing}"'
    )


def going_on(
    before: ShareProgress,
    recorded: Mapping[Status, int],
    now: AccountProgress,
    *,
    who: str,
    is_permanent: bool = False,
) -> ShareProgress:
    """The progress of a share that a process goes on with.

    before    what others left when it took the share
    recorded  results on record then, per status
    now       what the process did since
    """
    done = Counter({**recorded})
    done[Status.NOT_ATTEMPTED] = 0  # they are sent again
    done.update(now.done)
    return ShareProgress(
        limits=before.limits,
        work=(*before.work, Work(who=who, rows=sum(now.done.values()), requests=now.sent)),
        done={status: count for status, count in done.items() if count},
        sent=before.sent + now.sent,
        retries=before.retries + now.retries,
        sending_s=before.sending_s + now.sending_s,
        in_flight=now.in_flight,
        in_flight_limit=now.in_flight_limit,
        retrying=now.retrying,
        pause_left_s=now.pause_left_s,
        rate_per_s=now.rate_per_s,
        is_probing=now.is_probing,
        is_held_up=now.is_held_up,
        is_permanent=is_permanent,
        recent_errors=now.recent_errors,
    )


def as_account(account: str, share: ShareProgress, stopped: str) -> AccountProgress:
    """A share as the part of an account, for `whole_progress`."""
    return AccountProgress(
        account=account,
        rows=0,
        done=share.done,
        sent=share.sent,
        retries=share.retries,
        sending_s=share.sending_s,
        in_flight=share.in_flight,
        in_flight_limit=share.in_flight_limit,
        retrying=share.retrying,
        pause_left_s=share.pause_left_s,
        rate_per_s=share.rate_per_s,
        is_probing=share.is_probing,
        is_held_up=share.is_held_up,
        stopped=stopped or None,
        recent_errors=share.recent_errors,
    )


def total(parts: Iterable[ShareProgress]) -> Counter[Status]:
    """Results of all shares, per status."""
    done = Counter[Status]()
    for part in parts:
        done.update(part.done)
    return done


def who_works(share: ShareProgress) -> str:
    """The process that has the share, or had it last; empty if none had.

    >>> who_works(ShareProgress(work=(Work(who="process 7"), Work(who="process 9"))))
    'process 9'
    """
    return share.work[-1].who if share.work else ""


def by_worker(shares: Sequence[ShareProgress]) -> dict[str, Work]:
    """What each process did in all, in the order in which they began."""
    found: dict[str, Work] = {}
    for each in (work for share in shares for work in share.work):
        known = found.get(each.who, Work(who=each.who))
        found[each.who] = replace(
            known, rows=known.rows + each.rows, requests=known.requests + each.requests
        )
    return found
