"""Reads the state of entities, with the connections, limits and secrets that a run would use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.jobs import JobsFile
from pipeline.jobs.shares import share_of
from pipeline.model import EntityKey, UpdateJob
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.plan.entity_reader import Reader, ReadResult
from pipeline.plan.state_cache import StateCache, load_listing
from pipeline.run import RunEnvironment
from pipeline.run.links import announce_once
from pipeline.sign_in.auth import mask_of
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.contract import State

FEW_ROWS = 100
"""Below this number of rows a listing is not tried: entities are read one by one."""

CHUNK_ROWS = 1_000
"""Rows read at a time and held in memory."""


class WantedEntity(NamedTuple):
    """An entity to read: the account, the entity key, and the update that names it."""

    account: str
    entity: str
    operation: Operation[Any, Any]
    job: UpdateJob


class EntityStates:
    """States of entities, read within the limits of their accounts or computed earlier.

    readers  of each account, one per share
    rows   expected number of rows per account and operation
    cache  holds the states that came from listings

    known  states after earlier rows, for entities with several rows; the caller fills it
    """

    def __init__(
        self,
        readers: Mapping[str, Sequence[Reader]],
        rows: Mapping[tuple[str, str], int],
        cache: StateCache,
    ) -> None:
        self._readers = readers
        self._masks = {name: mask_of(each[0].account) for name, each in readers.items()}
        self._rows = rows
        self._cache = cache
        self._is_listed: dict[str, bool] = {}
        self.known: dict[str, State] = {}

    @property
    def requests(self) -> int:
        """Read requests sent."""
        return sum(reader.requests for each in self._readers.values() for reader in each)

    @property
    def stopped(self) -> dict[str, str]:
        """Accounts that stopped reading, each with the reason."""
        return {
            name: reader.stopped
            for name, each in self._readers.items()
            for reader in each
            if reader.stopped is not None
        }

    def hide(self, account: str, text: str) -> str:
        """Mask the secrets of an account in a text."""
        return self._masks[account].hide(text)

    def known_or(self, found: Mapping[str, ReadResult], entity: str) -> ReadResult:
        """Return the known state of an entity, else its state in `found`, else no state."""
        known = self.known.get(entity)
        return found.get(entity, ReadResult(None)) if known is None else ReadResult(known)

    async def read(self, wanted: Sequence[WantedEntity]) -> dict[str, ReadResult]:
        """Read entities; return the results by entity key.

        Known entities, and those of operations that cannot be read, are left out.
        """
        found: dict[str, ReadResult] = {}
        to_read: dict[Reader, dict[str, WantedEntity]] = {}
        for each in wanted:
            if each.operation.reading is None or each.entity in self.known:
                continue
            state = await self._from_listing(each)
            if state is not None:
                found[each.entity] = ReadResult(state)
            else:
                reader = self._reader_of(each)
                to_read.setdefault(reader, {}).setdefault(each.entity, each)
        async with anyio.create_task_group() as tasks:
            for reader, entities in to_read.items():
                tasks.start_soon(self._read, reader, entities, found)
        return found

    def _reader_of(self, wanted: WantedEntity) -> Reader:
        readers = self._readers[wanted.account]
        return readers[share_of(wanted.entity, len(readers))]

    async def _from_listing(self, wanted: WantedEntity) -> State | None:
        """Return the state from a listing if that takes fewer requests than single reads."""
        prefix = entity_prefix(wanted.entity)
        if prefix not in self._is_listed:
            self._is_listed[prefix] = await self._load_listing(wanted, prefix)
        return self._cache.get(wanted.entity) if self._is_listed[prefix] else None

    async def _load_listing(self, wanted: WantedEntity, prefix: str) -> bool:
        reader, reading = self._reader_of(wanted), wanted.operation.reading
        change, settings = wanted.operation.change, reader.account.settings
        listing = None if reading is None else reading.listing(settings)
        rows = self._rows.get((wanted.account, wanted.operation.name), 0)
        if listing is None or change is None or rows < FEW_ROWS:
            return False
        if not await load_listing(
            self._cache, reader, listing, job=wanted.job, prefix=prefix, wanted=rows
        ):
            return False
        # no page says that a listing returns all that a read does: compare them for one entity
        listed = self._cache.get(wanted.entity)
        (seen,) = await reader.read([(wanted.operation, wanted.job)])
        if listed is None or not isinstance(seen.state, State):
            return listed is None
        return not change.differences(settings, listed, seen.state)

    async def _read(
        self, reader: Reader, entities: Mapping[str, WantedEntity], found: dict[str, ReadResult]
    ) -> None:
        pairs = [(each.operation, each.job) for each in entities.values()]
        found.update(zip(entities, await reader.read(pairs), strict=True))


@asynccontextmanager
async def open_states(
    names: Iterable[str],
    config: Config,
    environment: RunEnvironment,
    rows: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> AsyncIterator[EntityStates]:
    """Open readers for the named accounts while the block runs. Reads count for their quotas.

    rows  expected number of rows per account and operation

    Raises ConfigError if an account cannot be used.
    """
    accounts: list[Account] = [config.account(name, environment.environ) for name in names]
    announce = announce_once(environment.tell)  # each share hears of a pause
    async with AsyncExitStack() as stack:
        readers = {
            account.name: [
                await stack.enter_async_context(
                    _reader(account, number, config, environment, announce)
                )
                for number in range(account.shares)
            ]
            for account in accounts
        }
        cache = StateCache()
        stack.callback(cache.close)
        failure: Exception | None = None
        async with environment.shared.quotas.kept(config, environment.tell):
            try:
                yield EntityStates(readers, rows, cache)
            except Exception as error:  # noqa: BLE001 - raised below, outside the task group
                failure = error
        if failure is not None:
            raise failure


@asynccontextmanager
async def _reader(
    account: Account,
    number: int,
    config: Config,
    environment: RunEnvironment,
    announce: Callable[[str], None],
) -> AsyncIterator[Reader]:
    """Open the reader of one share of an account."""
    part, shared = account.part(number), environment.shared.quotas.limiter(account, config, number)
    limiter = AccountLimiter(shared, announce=announce)
    async with environment.open_link(part, limiter) as wire:
        reader = Reader(part, wire=wire, account_limiter=limiter)
        with reader.open():
            yield reader


def rows_of(jobs: Mapping[str, JobsFile]) -> dict[tuple[str, str], int]:
    """Number of rows per account and operation."""
    return {(name, op): n for name, file in jobs.items() for op, n in file.operations.items()}


def entity_prefix(entity: str) -> str:
    """The part of an entity key before the id: entities that one listing returns share it.

    >>> entity_prefix("xsolla|https://x.example|44056|coupon|a|b")
    'xsolla|https://x.example|44056|coupon|'
    """
    return EntityKey.parse(entity)._replace(id="").text()
