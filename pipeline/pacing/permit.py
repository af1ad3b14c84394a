"""One request's way through the gate and back, so that the gate hears of its end just once."""

from __future__ import annotations

from pipeline.model import Answer, Reply
from pipeline.pacing.limiter import AccountLimiter
from pipeline.vendors.kit.numbers import shown


class Permit:
    """A request that has its permit.

    number  that of its permit
    left_s  when it left, by the lane's clock
    """

    __slots__ = ("_account_limiter", "_is_back", "_number", "_words", "left_s")

    def __init__(self, account_limiter: AccountLimiter, number: int, left_s: float) -> None:
        self._account_limiter = account_limiter
        self._number = number
        self._is_back = False
        self._words = ""
        self.left_s = left_s

    def on_reply(self, reply: object = None) -> None:
        """A Reply came; or something else, and then none will. Only the first call counts."""
        if not self._is_back:
            self._is_back = True
            self._words = pause_words(reply) if isinstance(reply, Reply) else ""
            self._account_limiter.on_reply(self._number, self.left_s, reply)

    def on_answer(self, answer: Answer) -> None:
        """What the reply means."""
        self._account_limiter.on_answer(answer, self.left_s, self._words)


def pause_words(reply: Reply) -> str:
    """What a reply says of a pause, to be shown to people.

    >>> pause_words(Reply(429, {"retry-after": "7"}, b"")), pause_words(Reply(429, {}, b""))
    ('HTTP 429, Retry-After: 7', 'HTTP 429')
    """
    seconds = shown(reply.headers.get("retry-after", ""))
    return reply.hide(f"HTTP {reply.status}" + (f", Retry-After: {seconds}" if seconds else ""))
