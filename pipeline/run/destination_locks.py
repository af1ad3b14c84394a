"""Locks of destinations: one process at a time sends to a vendor's project, sandbox or site."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio

from pipeline.config import Config
from pipeline.model import RunAborted, UsageError
from pipeline.run.prepare import Prepared, describe_place
from pipeline.store import Lock

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
    folder = lock_folder(config)
    with ExitStack() as held:
        # in the same order everywhere, so that no two processes wait for each other
        for place in sorted(places):
            lock = held.enter_context(
                Lock(folder / hashlib.sha256(place.encode()).hexdigest()[:16])
            )
            await _acquire(lock, describe_place(place), wait=wait, tell=tell)
        yield


def lock_folder(config: Config) -> Path:
    """Folder of the locks of this ledger. Raises RunAborted if it cannot be created."""
    folder = config.ledger_folder / "locks"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise RunAborted(f"{folder} cannot be made: {error.strerror}") from error
    return folder


async def _acquire(
    lock: Lock, place: str, *, wait: Callable[[], bool], tell: Callable[[str], None]
) -> None:
    is_announced = False
    while not lock.acquire(wait=False):
        who = lock.held_by()
        if not wait():
            raise BusyError(f"{place} is busy: {who} sends to it. Nothing was sent")
        if not is_announced:
            tell(f"{place} is busy: waiting for {who}")
            is_announced = True
        await anyio.sleep(CHECK_EVERY_S)
