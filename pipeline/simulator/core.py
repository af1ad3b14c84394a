"""Runs all emulated vendors: reads, delays, judges, answers and logs each request."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import web

from pipeline.simulator.errors import SimulatorError
from pipeline.simulator.fault_replies import fault_reply, throttled
from pipeline.simulator.faults import (
    OK,
    UNAPPLIED,
    InjectedFault,
    Rule,
    by_chance,
    reply_at,
    rule_for,
)
from pipeline.simulator.headers import MASK, join_headers, refuse_headers, without_secrets
from pipeline.simulator.log import RequestLog
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.quota import QuotaLimiter, parse_quota, rate_limit
from pipeline.simulator.state import StoredState
from pipeline.simulator.tally import RequestTally
from pipeline.simulator.vendor import (
    Call,
    EmulatedVendor,
    Failure,
    RequestTarget,
    TokenEndpoint,
    VendorReply,
)
from pipeline.simulator.vendors import VENDORS
from pipeline.simulator.wire import SILENT, Connection, send

_LOGGER = logging.getLogger(__name__)

_AUTHORITY = re.compile(r"https?://[^/?]*")
_ELSEWHERE = "/elsewhere"
_FLUSH_AFTER_S = 0.2
_TOKEN_ENDPOINTS = {
    vendor.token_endpoint.path: (vendor.name, vendor.token_endpoint)
    for vendor in VENDORS
    if vendor.token_endpoint
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that has arrived.

    seq        number in order of arrival, from 1
    arrived_s  seconds since the start
    repeated   names of headers that occur more than once
    """

    seq: int
    arrived_s: float
    call: Call
    repeated: tuple[str, ...]
    raw_path: str
    connection: int
    is_reused: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """The simulator's decision about an arrival.

    vendor        None if the path belongs to no vendor
    target        None if the request names nothing that the vendor has
    fault         None if there is none
    is_for_token  True if body and query hold credentials
    """

    answer: VendorReply
    vendor: str | None = None
    target: RequestTarget | None = None
    fault: InjectedFault | None = None
    is_for_token: bool = False


class Simulator:
    """The emulated vendors with their quotas, entities, log and counts.

    Raises SimulatorError if `log_path` cannot be written.
    """

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self._quotas = tuple(parse_quota(text) for text in options.quotas)
        try:
            self._log = RequestLog(options.log_path, options.max_log_bytes)
        except OSError as error:
            raise SimulatorError(
                f"log_path = {options.log_path}: cannot write there: {error.strerror}"
            ) from error
        self._state = StoredState()
        self._loop = asyncio.get_running_loop()
        self._flush_at: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        self._started_s = self._loop.time()
        self._seq = self._completed = 0
        self._chance = random.Random(self.options.seed)  # noqa: S311 - repeatable on purpose
        self._jitter = random.Random(self.options.seed)  # noqa: S311
        self._limiters = {
            vendor.name: QuotaLimiter(self._quotas, self.options.window) for vendor in VENDORS
        }
        self.tally = RequestTally(self._quotas)

    def reset(self) -> None:
        """Forget log, entities, tokens and counts."""
        self._log.reset()
        self._state.reset()
        self._begin()

    def revoke(self) -> None:
        """Revoke all tokens."""
        self._state.revoke()

    def close(self) -> None:
        """Close files and free disk space."""
        if self._flush_at is not None:
            self._flush_at.cancel()
        self._log.close()
        self._state.close()

    def log_lines(self, offset: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """Lines of the request log, in order of completion."""
        return self._log.read(offset, limit)

    def state(self) -> Iterator[dict[str, Any]]:
        """Entities as last written."""
        return self._state.entities()

    def stats(self) -> dict[str, Any]:
        """Counts since the start or the last reset."""
        elapsed_s = self._loop.time() - self._started_s
        lines = {"log_lines": self._log.lines, "log_lines_dropped": self._log.dropped}
        return {**self.tally.as_dict(), **lines, "elapsed_s": round(elapsed_s, 6)}

    async def serve(self, request: web.BaseRequest, connection: Connection) -> web.StreamResponse:
        """Read, judge and answer one request of a vendor's client."""
        self.tally.enter()
        try:
            return await self._serve(request, connection)
        except Exception:
            self.tally.broken += 1
            _LOGGER.exception("the simulator itself failed at %s", request.raw_path)
            return web.Response(status=500, text="The simulator itself failed; see its log\n")
        finally:
            self.tally.leave()

    async def _serve(self, request: web.BaseRequest, connection: Connection) -> web.StreamResponse:
        body = await self._body(request)
        if body is None:
            return web.Response(status=400)
        latency_s = self._latency_s()
        if latency_s:
            await asyncio.sleep(latency_s / 2)
        arrival = self._arrive(request, connection, body)
        judgement = self._judge(arrival)
        entry = log_entry(arrival, judgement, keep_body=self.options.log_bodies)
        await self._delay(entry, judgement.fault, latency_s / 2)
        fault = judgement.fault.name if judgement.fault else None
        self._record(entry, None if fault in SILENT else judgement.answer.status)
        return await send(request, connection, judgement.answer, fault)

    async def _body(self, request: web.BaseRequest) -> bytes | None:
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            return await request.read()
        except Exception:  # noqa: BLE001 - a body that ends early, for any reason, is no request
            self.tally.incomplete += 1
            return None

    def _latency_s(self) -> float:
        latency_s, jitter_s = self.options.latency_s, self.options.latency_jitter_s
        if not jitter_s:
            return latency_s
        return max(0.0, latency_s + self._jitter.uniform(-jitter_s, jitter_s))

    async def _delay(
        self, entry: dict[str, Any], fault: InjectedFault | None, back_s: float
    ) -> None:
        """Wait before the answer; if the wait is cancelled, log that there was no answer."""
        wait_s = back_s + (fault.slow_s if fault is not None and fault.name == "slow" else 0.0)
        if not wait_s:
            return
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            self._record(entry, None)
            raise

    def _arrive(self, request: web.BaseRequest, connection: Connection, body: bytes) -> Arrival:
        self._seq += 1
        headers, repeated = join_headers(request.raw_headers)
        return Arrival(
            seq=self._seq,
            arrived_s=self._loop.time() - self._started_s,
            call=Call(
                request.method,
                headers,
                body,
                f"{self._seq:032x}",
                time.time(),
                request.raw_path.partition("?")[2],
            ),
            repeated=repeated,
            raw_path=origin_form(request.raw_path),
            connection=connection.number,
            is_reused=connection.requests > 1,
        )

    def _judge(self, arrival: Arrival) -> Judgement:
        """Judge and apply without awaiting, so that effects happen in the order of `seq`."""
        endpoint = _TOKEN_ENDPOINTS.get(_path_of(arrival.raw_path))
        if endpoint is not None:
            return self._judge_token_call(*endpoint, arrival)
        vendor = _vendor_of(arrival.raw_path)
        if vendor is None:
            path = _path_of(arrival.raw_path).removeprefix(_ELSEWHERE)
            answer = self._outside_vendors(arrival.raw_path)
            return Judgement(answer, is_for_token=path in _TOKEN_ENDPOINTS)
        segments = path_segments(arrival.raw_path, vendor.prefix)
        target = vendor.locate(segments, arrival.call)
        limiter = self._limiters[vendor.name]
        wait_s = limiter.admit(arrival.arrived_s)
        self.tally.arrived(arrival.arrived_s, let_in=wait_s is None)
        headers = rate_limit(self.options.rate_limit, limiter.usage(arrival.arrived_s))
        if wait_s is not None:
            answer = throttled(vendor.failure, arrival.call, self.options.retry_after, wait_s)
            return Judgement(_with_headers(answer, headers), vendor.name, target)
        path = "/".join((vendor.prefix, *segments))
        fault = self._fault(arrival, path, by_chance_too=True)
        answer = self._answer(
            arrival,
            fault,
            vendor.failure,
            lambda: vendor.answer(self.options, self._state, arrival.call, target),
        )
        return Judgement(_with_headers(answer, headers), vendor.name, target, fault)

    def _judge_token_call(
        self, vendor: str, endpoint: TokenEndpoint, arrival: Arrival
    ) -> Judgement:
        fault = self._fault(arrival, endpoint.path, by_chance_too=False)
        answer = self._answer(
            arrival,
            fault,
            endpoint.failure,
            lambda: endpoint.answer(self.options, self._state, arrival.call),
        )
        target = RequestTarget(endpoint.operation, "", "")
        return Judgement(answer, vendor, target, fault, is_for_token=True)

    def _outside_vendors(self, raw_path: str) -> VendorReply:
        if raw_path.startswith(_ELSEWHERE):
            self.tally.elsewhere += 1
            return VendorReply(204)  # looks like success to a client that followed a redirect
        return VendorReply(
            404, b"No vendor is emulated at this path\n", {"Content-Type": "text/plain"}
        )

    def _answer(
        self,
        arrival: Arrival,
        fault: InjectedFault | None,
        failure: Failure,
        act: Callable[[], VendorReply],
    ) -> VendorReply:
        """Return the reply to the client. `act` makes the vendor's own reply, if one is needed."""
        call = arrival.call
        refusal = refuse_headers(call.method, call.headers, arrival.repeated)
        if fault is not None and fault.name in UNAPPLIED:
            answer = VendorReply(200)
        elif refusal is not None:
            answer = failure(*refusal, call.transaction_id)
        else:
            answer = act()
        if fault is None:
            return answer
        return fault_reply(fault, answer, failure, call, arrival.raw_path)

    def _fault(self, arrival: Arrival, path: str, *, by_chance_too: bool) -> InjectedFault | None:
        options = self.options
        found = rule_for(options.script, arrival.call.method, path, arrival.call.body)
        name = retry_after_s = slow_s = None
        if found is not None:
            index, place = found
            rule = options.script[index]
            name = reply_at(rule, self._turn(index, rule, place))
            retry_after_s, slow_s = rule.retry_after_s, rule.slow_s
        elif by_chance_too and options.faults:
            name = by_chance(options.faults, self._chance.random())
        if name is None or name == OK or (name == "close-reused" and not arrival.is_reused):
            return None
        return InjectedFault(
            name,
            options.retry_after_s if retry_after_s is None else retry_after_s,
            options.slow_s if slow_s is None else slow_s,
        )

    def _turn(self, index: int, rule: Rule, place: str) -> int:
        # a single reply needs no counter, and so no space per place
        return self._state.turn(index, place) if len(rule.replies) > 1 else 0

    def _record(self, entry: dict[str, Any], status: int | None) -> None:
        self._completed += 1
        entry["status"] = status
        entry["completed"] = self._completed
        self._log.append(entry)
        self.tally.completed(entry)
        if self._flush_at is None:
            self._flush_at = self._loop.call_later(_FLUSH_AFTER_S, self._flush)

    def _flush(self) -> None:
        self._flush_at = None
        self._log.flush()


def _with_headers(answer: VendorReply, headers: Mapping[str, str]) -> VendorReply:
    return replace(answer, headers={**answer.headers, **headers}) if headers else answer


def log_entry(arrival: Arrival, judgement: Judgement, *, keep_body: bool) -> dict[str, Any]:
    """A line of the request log, without `status` and `completed`, which follow the answer."""
    call, target = arrival.call, judgement.target
    raw_path = _path_of(arrival.raw_path) if judgement.is_for_token else arrival.raw_path
    entry: dict[str, Any] = {
        "seq": arrival.seq,
        "arrived_s": round(arrival.arrived_s, 6),
        "vendor": judgement.vendor,
        "operation": target.kind if target else None,
        "method": call.method,
        "raw_path": raw_path,
        "scope": target.scope if target else None,
        "id": (target.entity_id or None) if target else None,
        "connection": arrival.connection,
        "reused": arrival.is_reused,
        "headers": without_secrets(call.headers),
        "body": _body_text(call.body, judgement) if keep_body else None,
        "fault": judgement.fault.name if judgement.fault else None,
        "applied": judgement.answer.applied,
    }
    if target is not None and target.ids is not None:
        entry["ids"] = list(target.ids)
    return entry


def _body_text(body: bytes, judgement: Judgement) -> str:
    return MASK if judgement.is_for_token else body.decode("utf-8", "backslashreplace")


def origin_form(target: str) -> str:
    """The target of a request without the scheme and authority that requests to a proxy have.

    A server must accept both forms (RFC 9112, section 3.2.2).

    >>> origin_form("http://vendor.example/xsolla/api/v2?a=http://b/"), origin_form("/v2?a=http://b/")
    ('/xsolla/api/v2?a=http://b/', '/v2?a=http://b/')
    """
    return target if target.startswith("/") else _AUTHORITY.sub("", target, count=1)


def _path_of(raw_path: str) -> str:
    return raw_path.partition("?")[0]


def path_segments(raw_path: str, prefix: str) -> tuple[str, ...]:
    """Path segments after the prefix, without the query, each percent-decoded once.

    >>> path_segments("/api/v2/a%2F..%252F%3Fb?c", "/api")
    ('v2', 'a/..%2F?b')
    """
    path = _path_of(raw_path)[len(prefix) + 1 :]
    segments = path.split("/")
    if "%" not in path and path.isascii():
        return tuple(segments)
    return tuple(
        unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
        for segment in segments
    )


def _vendor_of(raw_path: str) -> EmulatedVendor | None:
    for vendor in VENDORS:
        if raw_path.startswith(f"{vendor.prefix}/"):
            return vendor
    return None
