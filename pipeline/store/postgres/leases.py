"""Leases in the database, timed by its clock."""

from __future__ import annotations

import math
import uuid
from contextlib import suppress
from datetime import UTC
from typing import Any, LiteralString, NamedTuple, Self

from pipeline.model import RunAborted
from pipeline.store.postgres.connections import PgConnection, PgConnections
from pipeline.store.postgres.schema import WANTED_S
from pipeline.store.postgres.text import stored, unstored
from pipeline.store.seam import LeaseHolder, LeaseName

TTL_S = 15.0
_UNSURE = 0.1
"""Part of a lease's time that its holder does not use: clocks run at different speeds, and a
request that was allowed still has to leave."""

_LOOK_EVERY_S = 0.25
_RENEWALS = 2


class Member(NamedTuple):
    """This process, as others see it.

    host  name of its machine
    """

    host: str
    pid: int
    command: str


class PgLease:
    """A lease that ends by itself `ttl_s` after it was taken or renewed.

    Renew it about every quarter of `ttl_s`. If the database was down, a holder has `ttl_s` after
    its start to renew. Another process that takes it gives it a higher epoch.
    """

    def __init__(
        self, connections: PgConnections, name: LeaseName, member: Member, *, ttl_s: float
    ) -> None:
        self.key = lease_key(name)
        self.ttl_s = ttl_s
        self._connections = connections
        self._clock = connections.waiting.clock
        self._slept = connections.waiting.slept
        self._member = member
        self._token = uuid.uuid4().hex
        self._epoch = 0
        self._sure_until_s = -math.inf  # by a clock that runs while the machine sleeps
        self._has_asked = False

    @property
    def epoch(self) -> int:
        """How often the lease was taken when this process took it."""
        return self._epoch

    @property
    def sure_until_s(self) -> float:
        """Counted from before the request left, because the database counts from later."""
        return self._sure_until_s - self._slept()

    def take(self) -> bool:
        """Take it or join the line; a second call while it is held renews it."""
        self._has_asked = True
        host, pid, command = self._member
        values = (
            *(self.key, self._token, self.ttl_s, stored(host), pid, stored(command[:1000])),
            WANTED_S,
        )
        asked_s, epoch = self._ask("select pipeline.take_lease(%s, %s, %s, %s, %s, %s, %s)", values)
        if epoch is None:
            return False
        self._epoch = int(epoch)
        self._held_since(asked_s)
        return True

    def renew(self) -> bool:
        """Hold it for another `ttl_s`."""
        values = (self.key, self._token, self._epoch, self.ttl_s)
        asked_s, is_held = self._ask("select pipeline.renew_lease(%s, %s, %s, %s)", values)
        if is_held:
            self._held_since(asked_s)
        else:
            self._sure_until_s = -math.inf
        return bool(is_held)

    def _ask(self, query: LiteralString, values: tuple[object, ...]) -> tuple[float, Any]:
        """The time just before the request that was answered, and its answer."""

        def step(connection: PgConnection) -> tuple[float, Any]:
            asked_s = self._clock() + self._slept()
            return asked_s, connection.execute(query, values).fetchall()[0][0]

        return self._connections.do(step, answer_s=max(1.0, self.ttl_s / 3))

    def _held_since(self, asked_s: float) -> None:
        self._sure_until_s = asked_s + self.ttl_s * (1 - _UNSURE)

    def is_wanted(self) -> bool:
        """True if another process is in line."""
        query = """
        select exists (select from pipeline.lease_queue
            where name = %s and token <> %s and until > clock_timestamp())
        """
        return bool(self._connections.rows(query, (self.key, self._token))[0][0])

    def is_held(self) -> bool:
        """True if it cannot be taken."""
        query = "select not pipeline.is_free(l) from pipeline.leases l where name = %s"
        found = self._connections.rows(query, (self.key,))
        return bool(found and found[0][0])

    def is_alive(self) -> bool:
        """True once it was renewed twice, or taken; False once it has ended.

        The database may carry out a renewal after the process that asked for it was killed.
        """
        query = """
        select l.epoch, l.until, pipeline.is_free(l) from pipeline.leases l where name = %s
        """
        seen: set[object] = set()
        while found := self._connections.rows(query, (self.key,)):
            epoch, until, is_free = found[0]
            seen.add((epoch, until))
            if is_free or len(seen) > _RENEWALS:
                return not is_free
            self._connections.waiting.sleep(_LOOK_EVERY_S)
        return False

    def holder(self) -> LeaseHolder | None:
        """Who took it last, unless it was released."""
        query = """
        select host, pid, command, since at time zone 'UTC' from pipeline.leases
        where name = %s and since is not null
        """
        for host, pid, command, since in self._connections.rows(query, (self.key,)):
            return LeaseHolder(unstored(host), pid, unstored(command), since.replace(tzinfo=UTC))
        return None

    def release(self) -> None:
        """Free it at once, or leave the line."""
        if not self._has_asked:
            return
        self._has_asked = False
        self._sure_until_s = -math.inf
        query: LiteralString = "select pipeline.release_lease(%s, %s, %s)"
        values = self.key, self._token, self._epoch
        with suppress(RunAborted):  # without the database it ends by itself
            self._connections.do(lambda it: it.execute(query, values), most_s=self.ttl_s)

    def abandon(self) -> None:
        """Let it end by itself, as that of a process that was killed."""
        self._sure_until_s = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()


def lease_key(name: LeaseName) -> str:
    """The key of a lease in the database.

    >>> from pipeline.store.seam import Share, run_lease, share_lease
    >>> lease_key(run_lease("monday")), lease_key(share_lease("monday", Share("shop", 1, 4)))
    ('run:monday', 'share:monday:shop:1:4')
    """
    share = () if name.share is None else map(str, name.share)
    return ":".join((name.kind, stored(name.text), *map(stored, share)))
