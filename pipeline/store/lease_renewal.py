"""Renews a lease in a thread while its holder works."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.model import RunAborted
from pipeline.store.seam import Lease

_PARTS = 4  # a holder can miss two renewals and still be in time


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
                if not lease.renew():
                    on_lost("another process has taken it over")
                    return
            except RunAborted as error:
                on_lost(str(error))
                return

    thread = threading.Thread(target=renew, name="lease renewal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
