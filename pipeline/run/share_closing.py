"""Closes shares of runs, so that no worker takes them: other rows are sent to the same places.

A worker takes the lease of a share first and then looks whether it is open; here it is closed first
and then its lease is looked at. So one of the two always sees the other.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.model import RunAborted
from pipeline.run.destination_locks import CHECK_EVERY_S, BusyError
from pipeline.run.prepared import Prepared
from pipeline.run.share_rules import is_left
from pipeline.runs.registry import held_shares, open_store
from pipeline.runs.run_folder import is_stored, load
from pipeline.store.seam import Share, ShareChange, ShareState


def close_shares(config: Config, run: str) -> None:
    """Let no worker take a share of a run. Those that have one may open others again."""
    runs = open_store(config).runs
    for each in runs.shares(run):
        if each.is_open and is_left(each):
            runs.change_share(run, each.share, ShareChange(is_open=False))


def open_first(config: Config, run: str, shares: list[Share]) -> None:
    """Give out some shares. The rows of the run MUST have been compared with those of others."""
    runs = open_store(config).runs
    for share in shares:
        runs.change_share(run, share, ShareChange(is_open=True))


async def close_and_wait(
    config: Config, run: str, *, wait: Callable[[], bool], tell: Callable[[str], None]
) -> None:
    """Wait until no worker has a share of a run, and let none take one afterwards.

    wait  True to continue waiting; False raises BusyError
    tell  called once with the workers that are waited for
    """
    is_announced = False
    while True:
        workers = await anyio.to_thread.run_sync(held_shares, config, run)
        if not workers:
            await anyio.to_thread.run_sync(close_shares, config, run)
            if not await anyio.to_thread.run_sync(held_shares, config, run):
                return
            continue
        names = ", ".join(share.name for share in workers)
        if not wait():
            raise BusyError(
                f"workers of run {run} send {names} to the same place. Nothing was sent"
            )
        if not is_announced:
            tell(f"waiting for the workers of run {run}, which send {names} to the same place")
            is_announced = True
        await anyio.sleep(CHECK_EVERY_S)


async def others_closed(
    prepared: Prepared, *, wait: Callable[[], bool], tell: Callable[[str], None]
) -> None:
    """Close the shares of all other runs that reach the places of this one, which MUST be locked.

    Arguments as in `close_and_wait`.
    """
    for run in await anyio.to_thread.run_sync(_open_elsewhere, prepared):
        await close_and_wait(prepared.config, run, wait=wait, tell=tell)


def _open_elsewhere(prepared: Prepared) -> list[str]:
    store = open_store(prepared.config)
    runs = [run.name for run in store.runs.all(states=("sending",))]
    return [
        name
        for name in runs
        if name != prepared.run
        and any(map(_may_be_sent, store.runs.shares(name)))
        and not _places(prepared.config, name).isdisjoint(prepared.places)
    ]


def _may_be_sent(state: ShareState) -> bool:
    return state.is_open and is_left(state)


def _places(config: Config, run: str) -> frozenset[str]:
    """The destinations of a run; none if its files are gone or damaged: it is not sent then."""
    files = open_store(config).files(run)
    try:
        stored = load(files) if is_stored(files) else None
    except RunAborted:
        return frozenset()
    jobs = stored.bound.jobs.values() if stored is not None else ()
    return frozenset().union(*(file.reaches for file in jobs))
