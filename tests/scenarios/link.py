"""A `send` that leads to a modelled vendor, and the log of what went over it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from pipeline.model import NoReply, Reply, Request
from tests.scenarios.vendor import BEGAN_UTC_S, Course, Outcome, Vendor, What

SILENCE = NoReply("timeout", "no answer in time", may_have_arrived=True)
NO_CONNECTION = NoReply("connect_failed", "connection refused", may_have_arrived=False)
RESET = NoReply("disconnected", "the connection was closed", may_have_arrived=True)


@dataclass(slots=True)
class Sent:
    """One request. Times are seconds since the scenario began.

    arrived_s   at the vendor; infinite while it is on its way
    received_s  when the client had the reply, or knew that there is none; infinite until then
    what        what the vendor did with it
    status      of the reply that the client has; None without one
    floor_s     until when the reply asks everyone to wait; 0 where it does not
    """

    row: str
    left_s: float
    arrived_s: float = math.inf
    received_s: float = math.inf
    what: What | None = None
    status: int | None = None
    floor_s: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether the client knows that it was applied."""
        return self.status is not None and self.status < 300


class Link:
    """The way to a modelled vendor.

    clock      seconds since the scenario began
    timeout_s  after which the client gives a request up
    """

    def __init__(
        self, course: Course, *, clock: Callable[[], float], timeout_s: float, seed: int
    ) -> None:
        self.log: list[Sent] = []
        self._vendor = Vendor(course)
        self._clock = clock
        self._timeout_s = timeout_s
        self._random = random.Random(seed)
        self._warm_until_s = -math.inf

    async def send(self, request: Request) -> Reply | NoReply:
        """As the engine's transport does."""
        sent = Sent(request.path[1:], self._clock())
        self.log.append(sent)
        reply: Reply | NoReply = SILENCE
        with anyio.move_on_after(self._timeout_s):
            reply = await self._exchange(sent)
        sent.received_s = self._clock()
        if isinstance(reply, Reply):
            sent.status = reply.status
        return reply

    async def _exchange(self, sent: Sent) -> Reply | NoReply:
        behaviour = self._vendor.course.at(self._clock())
        is_stray = behaviour.strays > 0 and self._random.random() < behaviour.strays
        late_s = behaviour.late_s if is_stray else 0.0
        if behaviour.cold_s and self._clock() > self._warm_until_s:
            late_s += behaviour.cold_s
        await anyio.sleep(self._one_way_s() + late_s)
        now_s = sent.arrived_s = self._clock()
        self._warm_until_s = now_s + behaviour.cold_after_s
        outcome = self._vendor.arrive(now_s, is_stray=is_stray)
        sent.what = outcome.what
        if outcome.answered_s == math.inf:
            await anyio.sleep_forever()
        await anyio.sleep(outcome.answered_s - now_s + self._one_way_s())
        if outcome.wait_s is not None:
            sent.floor_s = self._clock() + outcome.wait_s
        if outcome.wait_until_s is not None:
            sent.floor_s = outcome.wait_until_s
        return self._as_it_came(outcome)

    def _as_it_came(self, outcome: Outcome) -> Reply | NoReply:
        if outcome.status is None:
            return NO_CONNECTION if outcome.no_reply == "refused" else RESET
        received_s = BEGAN_UTC_S + self._clock()
        return Reply(outcome.status, outcome.headers, b"", received_s=received_s)

    def _one_way_s(self) -> float:
        behaviour = self._vendor.course.at(self._clock())
        return max(0.0, behaviour.way_s + behaviour.jitter_s * self._random.uniform(-1, 1)) / 2
