"""The limiter of one account, and the permit of one request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio

from pipeline.model import Answer, Reply, Verdict
from pipeline.pacing.limiter import RateLimiter
from pipeline.vendors.kit.numbers import shown

SURE_AGAIN_S = 0.05
"""Seconds between two looks whether the run may send again."""


class AccountLimiter:
    """One account's access to a rate limiter that accounts may share; it is closed alone.

    run           name of the run that sends; empty for a command that is no run
    announce      is called with text for people if a wait begins
    sure_until_s  monotonic time until which the run may send: compared whenever a request is about
                  to leave

    is_closed     it gives no more permits
    cancelled     how often waits for permits were ended
    """

    def __init__(
        self,
        limiter: RateLimiter,
        run: str = "",
        *,
        announce: Callable[[str], None] = lambda _words: None,
        sure_until_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.announce = announce
        self._sure_until_s = sure_until_s
        self._limiter = limiter
        self._run = run
        self._blocks: set[anyio.CancelScope] = set()
        self._callbacks: dict[Callable[[], None], Callable[[], None]] = {}  # -> what removes it
        self.is_closed = False
        self.cancelled = 0
        self.watched = limiter.watched
        self.take = limiter.take
        self.many_in_s = limiter.many_in_s
        self.on_reply = limiter.on_reply
        self.pause = limiter.pause
        self.slow = limiter.slow

    @property
    def per_second(self) -> float:
        """The effective rate of the shared limiter."""
        return self._limiter.per_second

    def on_answer(self, answer: Answer, left_s: float, words: str = "") -> None:
        """As `RateLimiter.on_answer`, with the name of the run."""
        self._limiter.on_answer(answer, left_s, words, self._run)

    def is_stray(self, answer: Answer) -> bool:
        """True if `answer` is a refusal that has another reason than the number of requests."""
        return answer.verdict is Verdict.THROTTLED and self._limiter.has_strays

    @property
    def is_plain(self) -> bool:
        """True if replies change only counts: `on_successes` is enough for answers that are OK."""
        return self._limiter.is_plain

    def on_successes(
        self, permits: Sequence[Permit], trips_s: Sequence[tuple[float, float]]
    ) -> None:
        """As `Permit.on_reply` and `on_answer` for each of `permits`, while `is_plain`.

        trips_s  when each was sent, and when its reply arrived
        """
        numbers = [permit.number for permit in permits if permit.number is not None]
        self._limiter.on_successes(numbers, trips_s)

    @contextmanager
    def while_open(self) -> Iterator[None]:
        """Cancel the block, without an error, when this limiter is closed."""
        with anyio.CancelScope() as scope:
            if self.is_closed:
                scope.cancel()
            self._blocks.add(scope)
            try:
                yield
            finally:
                self._blocks.discard(scope)

    def free(self, most: int) -> int:
        """Return how many requests may be sent now, at most `most`.

        After 0, `call_when_free` tells when to try again: others may be waiting.
        """
        return self._limiter.free(most) if self._may_send else 0

    @property
    def _may_send(self) -> bool:
        return not self.is_closed and self._is_sure

    @property
    def sure_for_s(self) -> float:
        """Seconds for which the run may surely send; infinity on files."""
        return self._sure_until_s() - self._limiter.now_s()

    @property
    def _is_sure(self) -> bool:
        until_s = self._sure_until_s()
        return until_s == math.inf or self._limiter.now_s() < until_s

    def call_when_free(self, callback: Callable[[], None], look_in_s: float = 0.0) -> None:
        """Call `callback` once, in the event loop, when it is worth calling `free` again.

        Also if this limiter is closed or `cancel_waits` is called meanwhile; once it is closed,
        `callback` is not called. While it waits, a further call changes nothing. One that is called
        in its turn may take one permit if others wait, and all there are if nobody does.

        look_in_s  seconds after which to look first, if nobody waits; 0: when there is a permit
        """
        if self.is_closed or callback in self._callbacks:
            return
        call = partial(self._call, callback)
        if self._is_sure:
            self._callbacks[callback] = self._limiter.call_when_free(call, look_in_s)
        else:
            again = asyncio.get_running_loop().call_later(SURE_AGAIN_S, call)
            self._callbacks[callback] = again.cancel

    def _call(self, callback: Callable[[], None]) -> None:
        del self._callbacks[callback]
        callback()

    async def in_turn(self, take: Callable[[], None]) -> bool:
        """Wait until a request may be sent, and call `take`, which may take one permit then.

        False if this limiter was closed or `cancel_waits` was called: `take` is not called then.
        """
        if self.is_closed:
            return False
        cancelled = self.cancelled
        has_taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def call() -> None:
            if has_taken.done():
                return
            if self.cancelled != cancelled:
                has_taken.set_result(False)
            elif not self._is_sure:
                self.call_when_free(call)
            else:
                try:
                    take()
                finally:
                    has_taken.set_result(True)

        self.call_when_free(call)
        try:
            return await has_taken
        finally:
            if remove := self._callbacks.pop(call, None):
                remove()

    def cancel_waits(self) -> None:
        """End every wait for a permit without one."""
        self.cancelled += 1
        callbacks, self._callbacks = self._callbacks, {}
        for callback, remove in callbacks.items():
            remove()
            asyncio.get_running_loop().call_soon(callback)

    def close(self) -> None:
        """Give no more permits, end every wait and cancel the blocks of `while_open`."""
        self.is_closed = True
        self.cancel_waits()
        for scope in tuple(self._blocks):
            scope.cancel()


class Permit:
    """The permit of one request, and its connection; the limiter learns of its end once.

    number      of the permit; None for a request that got no connection: it needed none
    left_s      when the request was sent, by the sender's clock
    connection  that it is sent on; without one the NoReply that says why
    """

    __slots__ = ("_account_limiter", "_has_ended", "_reply", "connection", "left_s", "number")

    def __init__(
        self, account_limiter: AccountLimiter, number: int | None, left_s: float, connection: Any
    ) -> None:
        self._account_limiter = account_limiter
        self.number = number
        self.connection = connection
        self._has_ended = False
        self._reply: object = None
        self.left_s = left_s

    def on_reply(self, reply: object = None) -> None:
        """The request ended: with a Reply, or with anything else if none will come.

        Only the first call counts.
        """
        if not self._has_ended:
            self._has_ended = True
            self._reply = reply
            if self.number is not None:
                self._account_limiter.on_reply(self.number, self.left_s, reply)

    def on_answer(self, answer: Answer) -> bool:
        """The decoded reply. True if it is a stray refusal."""
        reason = ""
        if isinstance(self._reply, Reply) and may_ask_for_pause(answer):
            reason = pause_reason(self._reply)
        self._account_limiter.on_answer(answer, self.left_s, reason)
        return self._account_limiter.is_stray(answer)


def may_ask_for_pause(answer: Answer) -> bool:
    """True if a pause may follow from `answer`; only then its reason matters."""
    return answer.verdict is Verdict.THROTTLED or answer.retry_after_s is not None


def pause_reason(reply: Reply) -> str:
    """Why a reply asks for a pause, as text for people.

    >>> pause_reason(Reply(429, {"retry-after": "7"}, b"")), pause_reason(Reply(429, {}, b""))
    ('HTTP 429, Retry-After: 7', 'HTTP 429')
    """
    seconds = shown(reply.headers.get("retry-after", ""))
    return reply.hide(f"HTTP {reply.status}" + (f", Retry-After: {seconds}" if seconds else ""))
