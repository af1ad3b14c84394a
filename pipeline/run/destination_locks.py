"""One process at a time sends to a place: what others wait for, and whom."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio

from pipeline.config import Config
from pipeline.model import RunAborted, UsageError
from pipeline.run.prepare import Prepared, in_words
from pipeline.store import Lock

LOOK_EVERY_S = 0.2


class BusyError(UsageError):
    """Another process sends to an account of this run, and nobody wants to wait for it."""


@asynccontextmanager
async def places_held(
    prepared: Prepared,
    *,
    wait: Callable[[], bool],
    tell: Callable[[str], None],
) -> AsyncIterator[None]:
    """While the block runs no other process sends to where the rows of a run go.

    As `accounts_held`.
    """
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
    """While the block runs no other process sends to these places, nor reads for a plan there.

    places  vendor, origin and scope, as an entity's text begins
    wait    whether to go on waiting; where it says no BusyError is raised
    tell    is told once whom it waits for
    raises  RunAborted where the locks cannot be used
    """
    folder = lock_folder(config)
    with ExitStack() as held:
        # all in the same order everywhere, so that no two processes wait for each other
        for place in sorted(places):
            lock = held.enter_context(
                Lock(folder / hashlib.sha256(place.encode()).hexdigest()[:16])
            )
            await _take(lock, in_words(place), wait=wait, tell=tell)
        yield


def lock_folder(config: Config) -> Path:
    """Where the locks of this ledger lie. Raises RunAborted where it cannot be made."""
    folder = config.ledger_folder / "locks"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise RunAborted(f"{folder} cannot be made: {error.strerror}") from error
    return folder


async def _take(
    lock: Lock, place: str, *, wait: Callable[[], bool], tell: Callable[[str], None]
) -> None:
    is_told = False
    while not lock.acquire(wait=False):
        who = lock.held_by()
        if not wait():
            raise BusyError(f"{place} is busy: {who} sends to it. Nothing was sent")
        if not is_told:
            tell(f"{place} is busy: waiting for {who}")
            is_told = True
        await anyio.sleep(LOOK_EVERY_S)
