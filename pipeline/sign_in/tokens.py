"""Sends an account's requests with its credentials, and keeps its access token fresh.

One token serves all requests: fetched when the first one needs it, renewed before it expires and
replaced once it has expired. No request is sent twice here: one whose token has ended gets a
NoReply with `lost_turn`, and its rows are queued again.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import anyio
from yarl import URL

from pipeline.http_client.connection import HttpConnection
from pipeline.http_client.link_urls import host_port
from pipeline.http_client.transport import Transport
from pipeline.http_client.wire import OnReply, Wire
from pipeline.model import Answer, Effect, Link, NoReply, Reply, Request, Verdict
from pipeline.model.quota import parse_quota
from pipeline.model.retry import RETRYABLE, next_delay_s
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.pause import ANNOUNCED_S
from pipeline.pacing.permits import exchange, permit_for
from pipeline.sign_in.auth import authorization, secrets_of
from pipeline.sign_in.renewal import After401, after_401, lifetime_s_of, renewed_after_s
from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.classify import classify_read, is_html
from pipeline.vendors.kit.contract import Bearer, Token, TokenCall
from pipeline.vendors.kit.tokens import is_token

WhileOpen = Callable[[], AbstractContextManager[None]]

ASK_AGAIN_S = 30.0  # after a failed renewal, while the old token is valid
UNUSED_MOST = 5  # consecutive tokens that expire before a request is sent

SIGNED_OUT = NoReply(
    "signed_out",
    "the access token expired; the request is sent again with a new one",
    may_have_arrived=False,
    lost_turn=True,
)
STOPPED = NoReply(
    "stopped",
    "the account stopped while it was signing in",
    may_have_arrived=False,
    lost_turn=True,
)
FAILED = "sign_in_failed"
REFUSED = "sign_in_refused"
TOO_SHORT = NoReply(
    FAILED,
    "the access tokens expire before the account's quota allows a request",
    may_have_arrived=False,
    is_permanent=True,
)


@asynccontextmanager
async def signed_in(
    account: Account,
    *,
    while_open: WhileOpen = nullcontext,
    announce: Callable[[str], None] = lambda _words: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    jitter: Callable[[], float] = random.random,
    unacknowledged_s: float = math.inf,
) -> AsyncIterator[Wire[HttpConnection]]:
    """Yield what sends the requests of this account.

    while_open  a block that is cancelled, without an error, once no request may be sent any more
    announce    called with a message if the token server asks for a pause
    clock       monotonic seconds
    jitter      draws from [0, 1)
    unacknowledged_s  seconds after which the system gives up a request that the vendor's host does
                not acknowledge; infinity: as long as it likes
    raises      ConfigError if credentials or addresses cannot be used
    """
    auth = account.vendor.authenticate(account.settings)
    ready = None if isinstance(auth, TokenCall) else authorization(auth)
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(
            Transport(
                account.link,
                authorization=ready,
                in_flight=account.in_flight,
                secrets=secrets_of(account),
                unacknowledged_s=unacknowledged_s,
            )
        )
        if not isinstance(auth, TokenCall):
            yield transport
            return
        to_tokens = await stack.enter_async_context(
            Transport(
                _link_to_tokens(account.link, auth),
                authorization=authorization(auth.basic),
                in_flight=1,
                secrets=secrets_of(account),
            )
        )
        quotas = tuple(map(parse_quota, auth.quota))
        limiter = RateLimiter(LimiterSettings(quotas=quotas), clock=clock, utc=time.time)
        tokens = _Tokens(
            account=account,
            call=auth,
            transport=to_tokens,
            limiter=AccountLimiter(limiter),
            announce=announce,
            clock=clock,
            sleep=sleep,
            jitter=jitter,
        )
        yield _SignedIn(transport, tokens, while_open=while_open, clock=clock)


async def sign_in_ahead(wire: Wire[Any]) -> NoReply | None:
    """Fetch a token before the first request needs it, if the account uses tokens.

    returns  why there is none; the first request then tries again. None on success
    """
    return await wire.sign_in_ahead() if isinstance(wire, _SignedIn) else None


def _link_to_tokens(link: Link, call: TokenCall) -> Link:
    # an account's headers may hold a key for its gateway: no other host may see it
    headers = link.headers if _origin(link.base_url) == _origin(call.base_url) else {}
    return replace(link, base_url=call.base_url, headers=headers)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = URL(url)
    return parts.scheme, parts.host, parts.port


@dataclass(slots=True)
class _HeldToken:
    """The state of a token; only the transport has its value.

    due_s        when it is renewed, in monotonic seconds
    ends_s       when it expires
    is_accepted  True once a request with it got a reply other than 401
    """

    serial: int
    due_s: float
    ends_s: float
    is_accepted: bool = False


class _SignedIn:
    """Sends requests with the account's token; safe to use concurrently."""

    def __init__(
        self,
        transport: Transport,
        tokens: _Tokens,
        *,
        while_open: WhileOpen,
        clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._tokens = tokens
        self._while_open = while_open
        self._clock = clock
        self._held: _HeldToken | None = None
        self._newest = 0  # serial number of the last token, even if it is no longer held
        self._unused = 0
        self._failure: NoReply | None = None
        self._fetch_lock = anyio.Lock()
        self._signed_out: defaultdict[tuple[str, str, bytes], set[int]] = defaultdict(set)

    def take(self, most: int) -> list[HttpConnection]:
        """Take idle connections, at most `most`; none if there is no token to send with."""
        return self._transport.take(most) if self._is_usable() else []

    async def connect(self) -> HttpConnection | NoReply:
        """Make sure that there is a token, and take a connection; return why there is none."""
        if not self._is_usable() and (lost := await self._sign_in()) is not None:
            return lost
        connection = await self._transport.connect()
        if isinstance(connection, HttpConnection) and not self._is_usable():
            self._transport.give_back(connection)  # meanwhile the token was refused, or expired
            return SIGNED_OUT
        return connection

    def give_back(self, connection: HttpConnection) -> None:
        """Give back a connection that was taken and not used."""
        self._transport.give_back(connection)

    def start(self, connection: HttpConnection, request: Request, on_reply: OnReply) -> None:
        """Send `request` with the token on a connection that was taken just before."""
        held = self._held
        if held is None:
            raise AssertionError("a connection is taken only with a token")
        self._unused = 0

        def on_done(reply: Reply | NoReply | Exception) -> None:
            on_reply(reply if isinstance(reply, Exception) else self._judged(held, request, reply))

        self._transport.start(connection, request, on_done)

    def abort(self, connection: HttpConnection) -> None:
        """End a request that was started, without a call."""
        self._transport.abort(connection)

    def _judged(
        self, held: _HeldToken, request: Request, reply: Reply | NoReply
    ) -> Reply | NoReply:
        """Learn from a reply about the token; a NoReply if the request is to be sent again."""
        if isinstance(reply, NoReply):
            return reply
        if reply.status == HTTPStatus.UNAUTHORIZED:
            return self._refused(held, request, reply)
        held.is_accepted = True
        if self._signed_out:
            self._signed_out.pop(_request_key(request), None)
        return reply

    async def sign_in_ahead(self) -> NoReply | None:
        """Fetch a token unless there is a valid one; return why there is none."""
        async with self._fetch_lock:
            if self._is_ready():
                return None
            granted = await self._tokens.fetch()
            if isinstance(granted, NoReply):
                return granted
            self._store(granted)
            return None

    def _is_renewed_early(self) -> bool:
        """True if the token is being renewed and is still valid."""
        held = self._held
        return held is not None and self._clock() < held.ends_s and self._fetch_lock.locked()

    def _is_usable(self) -> bool:
        """True if a request may be sent with the token now."""
        return self._is_ready() or self._is_renewed_early()

    def _is_ready(self) -> bool:
        return self._held is not None and self._clock() < self._held.due_s

    async def _sign_in(self) -> NoReply | None:
        """Make sure that there is a token; return the NoReply for the request if there is none."""
        with self._while_open():
            # A request that is cancelled while it fetches leaves the lock to the next one.
            async with self._fetch_lock:
                if not self._is_ready() and self._failure is None:
                    await self._fetch()
            return self._failure
        return STOPPED

    async def _fetch(self) -> None:
        if self._unused >= UNUSED_MOST:
            self._failure = TOO_SHORT
            return
        held = self._held
        granted = await self._tokens.fetch()
        if isinstance(granted, Granted):
            self._store(granted)
        elif held is not None and granted.reason == FAILED and self._clock() < held.ends_s:
            # it was renewed early: the old one is still valid
            held.due_s = min(held.ends_s, self._clock() + ASK_AGAIN_S)
        else:
            self._failure = granted

    def _store(self, granted: Granted) -> None:
        lifetime_s = lifetime_s_of(granted.token)
        self._newest += 1
        self._unused += 1
        self._held = _HeldToken(
            self._newest,
            due_s=granted.requested_s + renewed_after_s(lifetime_s),
            ends_s=granted.requested_s + lifetime_s,
        )
        self._transport.set_authorization(authorization(Bearer(granted.token.value)))

    def _refused(self, held: _HeldToken, request: Request, reply: Reply) -> Reply | NoReply:
        """Handle a 401: return the reply, or SIGNED_OUT if the request is to be sent again."""
        key = _request_key(request)
        serials = self._signed_out[key]
        serials.add(held.serial)
        act = after_401(
            held.serial, self._newest, was_accepted=held.is_accepted, tokens=len(serials)
        )
        if act is After401.FINAL:
            del self._signed_out[key]
            return reply
        if act is After401.SIGN_IN:
            self._held = None
        return SIGNED_OUT


def _request_key(request: Request) -> tuple[str, str, bytes]:
    return request.method, request.path, request.body


# Where the tokens come from...


@dataclass(frozen=True, slots=True)
class Granted:
    """A token, and when the request for it was sent, in monotonic seconds."""

    token: Token
    requested_s: float


@dataclass(slots=True, kw_only=True)
class _Tokens:
    """Fetches tokens, one at a time."""

    account: Account
    call: TokenCall
    transport: Transport
    limiter: AccountLimiter
    announce: Callable[[str], None]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    jitter: Callable[[], float]

    @property
    def _server(self) -> str:
        return host_port(self.call.base_url)

    async def fetch(self) -> Granted | NoReply:
        """Fetch a token, or return why there is none.

        The pauses that the token server asks for may add up to the account's `max_wait_s`.
        """
        attempt, waited_s = 0, 0.0
        while True:
            attempt += 1
            permit = await permit_for(self.transport, self.limiter, self.clock)
            if permit is None:
                raise AssertionError("nobody closes the limiter of a token server")
            reply = await exchange(self.transport, permit, self.call.request)
            token = _token(self.call, reply)
            if token is not None:
                return Granted(token, permit.left_s)
            answer = self._answer(reply)
            permit.on_answer(answer)
            delay_s = next_delay_s(self.account.retry, answer, attempt, self.jitter())
            pause_s = answer.retry_after_s or 0.0
            waited_s += pause_s
            if delay_s is None or waited_s > self.account.max_wait_s:
                return self._given_up(answer, attempt, waited_s)
            if pause_s > ANNOUNCED_S:
                name, server, words = self.account.name, self._server, answer.message
                self.announce(f"{name}: waiting {pause_s:.0f} s for a token from {server}: {words}")
            await self.sleep(max(delay_s, self.limiter.pause.left_s))

    def _answer(self, reply: Reply | NoReply) -> Answer:
        """Return what a reply without a token means."""
        if isinstance(reply, NoReply):
            return classify_read(reply)
        if reply.status // 100 != 2:  # noqa: PLR2004 - the class of what went well
            return classify_read(reply)
        # its body is not shown: a reply that cannot be read may contain a token
        kind = "a page of HTML or XML" if is_html(reply) else "a reply"
        message = f"HTTP {reply.status}, {kind} without a usable access token"
        return Answer(Verdict.FATAL, Effect.NONE, reply.status, "no_token", message)

    def _given_up(self, answer: Answer, attempt: int, waited_s: float) -> NoReply:
        if answer.verdict not in RETRYABLE and answer.http_status is not None:
            detail = f"{self._server} gave no token for the account's credentials: {answer.message}"
            return NoReply(REFUSED, detail, may_have_arrived=False, is_permanent=True)
        tried = "1 attempt" if attempt == 1 else f"{attempt} attempts"
        detail = f"no access token from {self._server} after {tried}: {answer.message}"
        most_s = self.account.max_wait_s
        if waited_s > most_s:
            detail += (
                f"; it asks for a pause of {waited_s:.0f} s, longer than max_wait_s = {most_s:.0f}"
            )
        return NoReply(FAILED, detail, may_have_arrived=False, is_permanent=True)


def _token(call: TokenCall, reply: Reply | NoReply) -> Token | None:
    """Return the token of a reply; None if there is none that a header can carry."""
    if isinstance(reply, NoReply) or reply.status // 100 != 2:  # noqa: PLR2004
        return None
    token = call.read(reply)
    return token if token is not None and is_token(token.value.get_secret_value()) else None
