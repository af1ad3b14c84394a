"""Renews leases in threads while their holder works."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from pipeline.model import RunAborted
from pipeline.store.seam import Lease, LeaseHolder

_PARTS = 4  # a holder can miss two renewals and still be in time
_AGAIN_S = 0.5  # who waits for a lease asks at least once a second
_END_S = 1.0  # a renewal that takes longer than the work may end after it: it changes nothing then


@contextmanager
def renewed(
    lease: Lease,
    on_lost: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Renew a lease that is held, until the block ends: at a quarter of its time, again and again.

    on_lost  called once, in the thread, with the reason, if another process has taken the lease or
             the store cannot be used. Send nothing after `lease.sure_until_s` in any case: a
             renewal may take long
    clock    monotonic

    A lease that ends only with the process needs no thread.
    """
    if lease.sure_until_s == math.inf:
        yield
        return
    is_over = threading.Event()
    every_s = max(0.0, lease.sure_until_s - clock()) / _PARTS

    def renew() -> None:
        while not is_over.wait(every_s):
            try:
                reason = "" if lease.renew() else "another process has taken it over"
            except RunAborted as error:
                reason = str(error)
            if is_over.is_set():
                return
            if reason:
                on_lost(reason)
                return

    thread = threading.Thread(target=renew, name="lease renewal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(_END_S)


class RenewedLease:
    """A lease that is renewed from when it is taken until it is released.

    lost  why it was lost for good; empty while it was not
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._renewal = ExitStack()
        self._is_renewed = False
        self.lost = ""

    @property
    def key(self) -> str:
        """As that of the lease; the same for all below."""
        return self._lease.key

    @property
    def epoch(self) -> int:
        """How often it was taken."""
        return self._lease.epoch

    @property
    def sure_until_s(self) -> float:
        """Minus infinity once it is lost."""
        return self._lease.sure_until_s

    @property
    def is_sure(self) -> bool:
        """True while certainly no other process has it."""
        return time.monotonic() < self.sure_until_s

    def take(self) -> bool:
        """Take it, and renew it from now on."""
        if not self._lease.take():
            return False
        if not self._is_renewed:
            self._is_renewed = True
            self._renewal.enter_context(renewed(self._lease, self._on_lost))
        return True

    def take_unless_alive(self, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Take it after a holder that was killed; False if another one lives.

        Others that waited for it may have been killed, too: until they lose their place in the
        line, it can be had by nobody.
        """
        while not self.take():
            if self.is_alive():
                return False
            sleep(_AGAIN_S)
        return True

    def _on_lost(self, reason: str) -> None:
        self.lost = reason

    def renew(self) -> bool:
        """Renew it at once, too."""
        return self._lease.renew()

    def is_wanted(self) -> bool:
        """True if another process wants it."""
        return self._lease.is_wanted()

    def is_held(self) -> bool:
        """True if a process holds it."""
        return self._lease.is_held()

    def is_alive(self) -> bool:
        """True if the process that holds it lives."""
        return self._lease.is_alive()

    def holder(self) -> LeaseHolder | None:
        """Who holds it, or held it."""
        return self._lease.holder()

    def release(self) -> None:
        """Release it, and renew it no more."""
        self._renewal.close()
        self._is_renewed = False
        self._lease.release()

    def abandon(self) -> None:
        """Hold it no more, as if this process had been killed."""
        self._renewal.close()
        self._is_renewed = False
        self._lease.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()


class Holds:
    """The leases under which a run sends: only while all of them are surely its own."""

    def __init__(self, *leases: RenewedLease) -> None:
        self._leases = list(leases)

    def add(self, lease: RenewedLease) -> None:
        """Send only under this one, too."""
        self._leases.append(lease)

    def discard(self, lease: RenewedLease) -> None:
        """It does not matter any more."""
        self._leases.remove(lease)

    def sure_until_s(self) -> float:
        """Monotonic time until which no other process can have any of them."""
        return min((lease.sure_until_s for lease in self._leases), default=math.inf)

    @property
    def lost(self) -> str:
        """Why one was lost for good; empty while none was."""
        return next(filter(None, (lease.lost for lease in self._leases)), "")
