"""Locks of destinations: one process at a time sends to a vendor's project, sandbox or site."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.model import RunAborted, UsageError
from pipeline.run.prepare import Prepared, describe_place
from pipeline.runs.registry import open_store
from pipeline.store.seam import Lease, place_lease

CHECK_EVERY_S = 0.2
RENEW_EVERY_S = 1.0


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
    async with accounts_held(prepared.places, prepared.config, wait=wait, tell=tell):
        yield


@asynccontextmanager
async def accounts_held(
    places: Iterable[str],
    config: Config,
    *,
    wait: Callable[[], bool],
    tell: Callable[[str], None],
) -> AsyncIterator[None]:
    """Lock destinations while the block runs: no other process sends there or reads for a plan.

    places  vendor, origin and scope, as an entity's text begins
    wait    True to continue waiting; False raises BusyError
    tell    called once with the process that is waited for

    Raises RunAborted if the locks cannot be used.
    """
    store = open_store(config)
    leases: list[Lease] = []
    with ExitStack() as held:
        # in the same order everywhere, so that no two processes wait for each other
        for place in sorted(places):
            lease = held.enter_context(store.lease(place_lease(place)))
            await _acquire(lease, describe_place(place), wait=wait, tell=tell)
            leases.append(lease)
        async with _renewed(leases):
            yield


@asynccontextmanager
async def _renewed(leases: Sequence[Lease]) -> AsyncIterator[None]:
    """Hold leases for longer while the block runs, whose errors are raised as they are."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_renew, leases)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised below, where no group wraps it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _renew(leases: Sequence[Lease]) -> None:
    while True:
        await anyio.sleep(RENEW_EVERY_S)
        for lease in leases:
            with suppress(RunAborted):  # rows are recorded in the same store: that ends the run
                await anyio.to_thread.run_sync(lease.renew)


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
