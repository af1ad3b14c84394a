"""A vendor that is healthy, but for some rows: those it never answers as it should. And accounts
of three manners at it, like those of the vendors that are known.

A request names the rows that it carries: `PUT /3,4`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import anyio

from pipeline.model import (
    Answer,
    Effect,
    EntityKey,
    JobRow,
    NoReply,
    Reply,
    Request,
    UpdateJob,
    Verdict,
)
from pipeline.model.quota import parse_quota
from pipeline.model.retry import RetryPolicy
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.classify import by_status, classify
from pipeline.vendors.kit.contract import Difference, EntityRead, Guard, State
from tests.scenarios.link import NO_CONNECTION, RESET, SILENCE
from tests.scenarios.vendor import Outage
from tests.workers.drive import ACCOUNT, ACME, PRICE

Manner = Literal["oracle", "xsolla", "adobe"]
Bad = Literal["", "500", "503", "slow 500", "silence", "reset", "429", "422"]
"""What a row meets whenever it arrives; 422 is an answer, all others but the empty one are none."""

ATTEMPTS = 5
WAY_S = 0.05
SLOW_S = 4.0
_STATUS: Mapping[str, int] = {"500": 500, "503": 503, "slow 500": 500, "429": 429, "422": 422}


class Line(NamedTuple):
    """A row of a file.

    bad      what it always meets
    is_once  it may not be repeated
    group    rows with the same may share a request; empty: it travels alone
    """

    entity: str
    bad: Bad = ""
    is_once: bool = False
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """An account, and how the vendor is on that day.

    groups    how many rows a request may carry; Oracle's manner only
    replaces  an update replaces the whole of its entity
    outages   short times in which it answers nothing, or no update ...
    reads_on  ... but still reads
    """

    manner: Manner = "xsolla"
    quota: str = "20/s"
    in_flight: int = 4
    timeout_s: float = 10.0
    max_outage_s: float = 120.0
    groups: int = 1
    replaces: bool = True
    outages: Sequence[Outage] = ()
    reads_on: bool = False


class Change(UpdateJob):
    """What a row asks for; `etag` is the guard of Adobe's manner."""

    row: int
    entity: str
    etag: str = ""


def _encode(_settings: Any, jobs: Sequence[Change]) -> Request:
    rows = ",".join(str(job.row) for job in jobs)
    return Request("PUT", f"/{rows}", headers={"if": jobs[0].etag})


def _decode(_settings: Any, jobs: Sequence[Change], reply: Reply | NoReply) -> tuple[Answer, ...]:
    answer = classify(reply, by_status(204))
    if len(jobs) > 1 and answer.http_status in {500, 422}:
        answer = answer._replace(verdict=Verdict.SPLIT)
    if answer.http_status == 409:
        answer = answer._replace(verdict=Verdict.REJECTED, effect=Effect.NONE)
    return (answer,) * len(jobs)


def _differences(_settings: Any, job: Change, state: State) -> tuple[Difference, ...]:
    found = state.fields["row"]
    return () if found == job.row else (Difference("row", job.row, found),)


READING = EntityRead[Any, Change](
    request=lambda _s, job: Request("GET", f"/{job.row}"),
    state=lambda _s, _job, reply: (
        State(json.loads(reply.body), reply.headers.get("etag")) if reply.status == 200 else None
    ),
    differences=_differences,
    settle_after_s=1.0,
)
GUARD = Guard[Any, Change](
    needs=lambda _s, job: not job.etag,
    guarded=lambda _s, job, state: job.model_copy(update={"etag": state.etag}),
    refusal=lambda _s, answer: answer.http_status == 409,
    expected=lambda _s, job: f"etag {job.etag}",
)


def account(terms: Terms) -> Account:
    """The account on these terms."""
    operation: Operation[Any, Any] = replace(
        PRICE,
        name="shop.change",
        job_type=Change,
        replaces=terms.replaces,
        entity=lambda s, job: EntityKey("shop", s.base_url, "", "thing", job.entity),
        encode=_encode,
        decode=_decode,
        batch_size=lambda _s: terms.groups,
        reading=None if terms.manner == "oracle" else READING,
        guard=GUARD if terms.manner == "adobe" else None,
        repeatable=lambda _s, _job: True,
    )
    return replace(
        ACCOUNT,
        vendor=replace(ACME, operations=(operation,)),
        quotas=(parse_quota(terms.quota),),
        in_flight=terms.in_flight,
        max_outage_s=terms.max_outage_s,
        retry=RetryPolicy(max_attempts=ATTEMPTS),
    )


def jobs(terms: Terms, lines: Sequence[Line]) -> list[JobRow]:
    """The rows as they were bound."""
    return [
        JobRow(
            row,
            "shop.change",
            line.entity,
            not line.is_once,
            json.dumps({"row": row, "entity": line.entity}),
            line.group if terms.manner == "oracle" and not line.is_once else "",
        )
        for row, line in enumerate(lines, 1)
    ]


@dataclass(slots=True)
class Sent:
    """One request. Times are virtual seconds.

    met      what came of it: a status, or why there was no reply
    is_fault the vendor was down when it arrived
    """

    rows: tuple[int, ...]
    is_read: bool
    left_s: float
    back_s: float = math.inf
    met: int | str = ""
    is_fault: bool = False


@dataclass(slots=True)
class Shop:
    """The vendor.

    clock    virtual seconds
    """

    terms: Terms
    lines: Sequence[Line]
    clock: Callable[[], float]
    log: list[Sent] = field(default_factory=list)
    applied: dict[int, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    etags: dict[str, int] = field(default_factory=dict)

    async def send(self, request: Request) -> Reply | NoReply:
        """As the engine's transport does."""
        rows = tuple(int(text) for text in request.path[1:].split(","))
        sent = Sent(rows, request.method == "GET", self.clock())
        self.log.append(sent)
        reply: Reply | NoReply = SILENCE
        with anyio.move_on_after(self.terms.timeout_s):
            reply = await self._answer(sent, request.headers.get("if", ""))
        sent.back_s = self.clock()
        sent.met = reply.status if isinstance(reply, Reply) else reply.reason
        return reply

    async def _answer(self, sent: Sent, etag: str) -> Reply | NoReply:
        await anyio.sleep(WAY_S / 2)
        for outage in () if sent.is_read and self.terms.reads_on else self.terms.outages:
            if outage.from_s <= self.clock() < outage.until_s:
                sent.is_fault = True
                return await self._down(outage.how)
        bad = "" if sent.is_read else next(filter(None, (self._bad(row) for row in sent.rows)), "")
        if bad == "silence":
            await anyio.sleep_forever()
        if bad == "slow 500":
            await anyio.sleep(SLOW_S)
        await anyio.sleep(WAY_S / 2)
        if bad == "reset":
            return RESET
        if bad:
            return Reply(_STATUS[bad], {}, b"")
        return self._read(sent.rows[0]) if sent.is_read else self._apply(sent.rows, etag)

    def _bad(self, row: int) -> Bad:
        return self.lines[row - 1].bad

    async def _down(self, how: str) -> Reply | NoReply:
        if how == "silence":
            await anyio.sleep_forever()
        await anyio.sleep(WAY_S / 2)
        return Reply(503, {}, b"") if how == "503" else NO_CONNECTION

    def _read(self, row: int) -> Reply:
        entity = self.lines[row - 1].entity
        body = json.dumps({"row": self.held.get(entity)}).encode()
        return Reply(200, {"etag": str(self.etags.get(entity, 0))}, body)

    def _apply(self, rows: Sequence[int], etag: str) -> Reply:
        for row in rows:
            entity = self.lines[row - 1].entity
            if etag and etag != str(self.etags.get(entity, 0)):
                return Reply(409, {}, b"")
            self.applied[row] = self.applied.get(row, 0) + 1
            self.held[entity] = row
            self.etags[entity] = self.etags.get(entity, 0) + 1
        return Reply(204, {}, b"")
