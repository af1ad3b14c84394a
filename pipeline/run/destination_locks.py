"""Locks of destinations: one process at a time sends to a vendor's project, sandbox or site."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.run.prepared import Prepared
from pipeline.run.refusal import describe_place
from pipeline.runs.registry import open_store
from pipeline.store.lease_renewal import Holds, RenewedLease
from pipeline.store.seam import Lease, place_lease

CHECK_EVERY_S = 0.2


class BusyError(UsageError):
    """Another process sends to a destination of this run, and the run does not wait."""


@asynccontextmanager
async def places_held(
    prepared: Prepared,
    *,
    wait: Callable[[], bool],
    tell: Callable[[str], None],
) -> AsyncIterator[None]:
    """Lock all destinations of a run while the block runs. Raises as `accounts_held` does."""
    async with accounts_held(
        prepared.places, prepared.config, wait=wait, tell=tell, holds=prepared.holds
    ):
        yield


@asynccontextmanager
async def accounts_held(
    places: Iterable[str],
    config: Config,
    *,
    wait: Callable[[], bool],
    tell: Callable[[str], None],
    holds: Holds | None = None,
) -> AsyncIterator[None]:
    """Lock destinations while the block runs: no other process sends there or reads for a plan.

    places  vendor, origin and scope, as an entity's text begins
    wait    True to continue waiting; False raises BusyError
    tell    called once with the process that is waited for
    holds   gets the leases while the block runs

    Raises RunAborted if the locks cannot be used.
    """
    store = open_store(config)
    holds = holds or Holds()
    with ExitStack() as held:
        # in the same order everywhere, so that no two processes wait for each other
        for place in sorted(places):
            lease = held.enter_context(RenewedLease(store.lease(place_lease(place))))
            await _acquire(lease, describe_place(place), wait=wait, tell=tell)
            holds.add(lease)
            held.callback(holds.discard, lease)
        yield


async def _acquire(
    lease: Lease, place: str, *, wait: Callable[[], bool], tell: Callable[[str], None]
) -> None:
    is_announced = False
    while not await anyio.to_thread.run_sync(lease.take):
        holder = lease.holder()
        who = "another process" if holder is None else holder.text
        if not wait():
            raise BusyError(f"{place} is busy: {who} sends to it. Nothing was sent")
        if not is_announced:
            tell(f"{place} is busy: waiting for {who}")
            is_announced = True
        await anyio.sleep(CHECK_EVERY_S)
