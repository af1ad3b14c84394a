"""Readers of the accounts of a run, opened as the run would open them."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.jobs import JobsFile
from pipeline.model import EntityKey, UpdateJob
from pipeline.pacing.limiter import AccountLimiter
from pipeline.plan.state_cache import StateCache, shelve
from pipeline.run import RunEnvironment
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.contract import State
from pipeline.workers.auth import mask_of
from pipeline.workers.dependencies import SenderEnvironment
from pipeline.workers.entity_reader import Reader, ReadResult

FEW_ROWS = 100
"""For fewer rows nobody looks whether a list is shorter."""

STRETCH_ROWS = 1_000
"""So many rows are read at a time, and held in memory."""


class WantedEntity(NamedTuple):
    """An entity to be read: by whom, under which key, and through which update."""

    account: str
    entity: str
    operation: Operation[Any, Any]
    job: UpdateJob


class EntityStates:
    """What entities hold, read through the gates of their accounts, or known from before.

    rows   how many rows of each account and operation will be asked for, about
    known  of entities with several rows, what the rows before leave
    """

    def __init__(
        self, readers: Mapping[str, Reader], rows: Mapping[tuple[str, str], int], shelf: StateCache
    ) -> None:
        self._readers = readers
        self._masks = {name: mask_of(reader.account) for name, reader in readers.items()}
        self._rows = rows
        self._shelf = shelf
        self._listed: dict[str, bool] = {}
        self.known: dict[str, State] = {}

    @property
    def requests(self) -> int:
        """Reads that left."""
        return sum(reader.requests for reader in self._readers.values())

    @property
    def stopped(self) -> dict[str, str]:
        """Accounts that read no more, and why."""
        return {name: r.stopped for name, r in self._readers.items() if r.stopped is not None}

    def hide(self, account: str, text: str) -> str:
        """A text about what an account's entities hold, without the account's secrets."""
        return self._masks[account].hide(text)

    def stop(self, why: str) -> None:
        """Read no more."""
        for reader in self._readers.values():
            reader.stop(why)

    async def of(self, wanted: Sequence[WantedEntity]) -> dict[str, ReadResult]:
        """By entity; those that are known are not read, nor those of vendors that cannot be."""
        found: dict[str, ReadResult] = {}
        asked: dict[str, dict[str, WantedEntity]] = {}
        for each in wanted:
            if each.operation.reading is None or each.entity in self.known:
                continue
            state = await self._from_list(each)
            if state is not None:
                found[each.entity] = ReadResult(state)
            else:
                asked.setdefault(each.account, {}).setdefault(each.entity, each)
        async with anyio.create_task_group() as tasks:
            for account, some in asked.items():
                tasks.start_soon(self._read, self._readers[account], some, found)
        return found

    async def _from_list(self, wanted: WantedEntity) -> State | None:
        """What a list of the place says, where reading it is cheaper."""
        place = place_of_kind(wanted.entity)
        if place not in self._listed:
            self._listed[place] = await self._list(wanted, place)
        return self._shelf.get(wanted.entity) if self._listed[place] else None

    async def _list(self, wanted: WantedEntity, place: str) -> bool:
        reader, reading = self._readers[wanted.account], wanted.operation.reading
        change, settings = wanted.operation.change, reader.account.settings
        listing = None if reading is None else reading.listing(settings)
        rows = self._rows.get((wanted.account, wanted.operation.name), 0)
        if listing is None or change is None or rows < FEW_ROWS:
            return False
        if not await shelve(self._shelf, reader, listing, job=wanted.job, place=place, wanted=rows):
            return False
        # whether a list tells all that a read does is documented nowhere: one entity shows it
        listed = self._shelf.get(wanted.entity)
        (seen,) = await reader.read([(wanted.operation, wanted.job)])
        if listed is None or not isinstance(seen.state, State):
            return listed is None
        return not change.unlike(settings, listed, seen.state)

    async def _read(
        self, reader: Reader, some: Mapping[str, WantedEntity], found: dict[str, ReadResult]
    ) -> None:
        pairs = [(each.operation, each.job) for each in some.values()]
        found.update(zip(some, await reader.read(pairs), strict=True))


@asynccontextmanager
async def opened(
    names: Iterable[str],
    config: Config,
    way: RunEnvironment,
    rows: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> AsyncIterator[EntityStates]:
    """Readers for accounts, with their secrets; quotas remember what left.

    rows  as of States

    Raises ConfigError where an account cannot be used.
    """
    environment = SenderEnvironment(clock=time.monotonic, jitter=random.random)
    accounts: list[Account] = [config.account(name, way.environ) for name in names]
    readers: dict[str, Reader] = {}
    async with AsyncExitStack() as stack:
        for account in accounts:
            account_limiter = AccountLimiter(way.shared.limiter(account, config), announce=way.tell)
            send = await stack.enter_async_context(way.open_link(account, account_limiter))
            reader = Reader(
                account, send=send, account_limiter=account_limiter, environment=environment
            )
            readers[account.name] = reader
            stack.enter_context(reader.open())
        shelf = StateCache()
        stack.callback(shelf.close)
        failure: Exception | None = None
        async with way.shared.kept(config, way.tell):
            try:
                yield EntityStates(readers, rows, shelf)
            except Exception as error:  # noqa: BLE001 - raised below, where no group wraps it
                failure = error
        if failure is not None:
            raise failure


def rows_of(jobs: Mapping[str, JobsFile]) -> dict[tuple[str, str], int]:
    """Rows of each account and operation."""
    return {(name, op): n for name, file in jobs.items() for op, n in file.operations.items()}


def place_of_kind(entity: str) -> str:
    """How the text of an entity begins, up to its id.

    >>> place_of_kind("xsolla|https://x.example|44056|coupon|a|b")
    'xsolla|https://x.example|44056|coupon|'
    """
    return EntityKey.parse(entity)._replace(id="").text()
