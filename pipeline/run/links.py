"""The links of a run to its vendors: one for each share of each account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from pipeline.http_client.wire import Wire
from pipeline.jobs import JobsFile
from pipeline.jobs.jobs_file import fullest_share
from pipeline.jobs.shares import shares_for
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.sign_in.tokens import signed_in
from pipeline.store.seam import Share
from pipeline.vendors import Account

OpenLink = Callable[[Account, AccountLimiter], AbstractAsyncContextManager[Wire[Any]]]


@asynccontextmanager
async def over_http(account: Account, account_limiter: AccountLimiter) -> AsyncIterator[Wire[Any]]:
    """Open the way to an account's vendor."""
    async with signed_in(
        account,
        while_open=account_limiter.while_open,
        announce=account_limiter.announce,
        unacknowledged_s=account_limiter.sure_for_s / 2,
    ) as wire:
        yield wire


class ShareLink(NamedTuple):
    """How one share of an account's rows is sent.

    account  with the limits of the share
    """

    account: Account
    share: Share
    account_limiter: AccountLimiter
    wire: Wire[Any]


class AccountLinks(NamedTuple):
    """The links of all shares of an account.

    account  the whole
    shares   first the one that opens the account: many of the first rows are in it
    """

    account: Account
    shares: Sequence[ShareLink]

    @property
    def of(self) -> int:
        """The number of shares in which the account is sent, here and by other processes."""
        return self.shares[0].share.of


def shares_of(account: Account, jobs: JobsFile) -> list[Share]:
    """The shares in which an account's rows are sent; the one that opens the account is first.

    A few rows are sent as one share, at its limits.
    """
    of = shares_for(jobs.rows, account.shares)
    first = fullest_share(jobs.path, of)
    return [Share(account.name, (first + number) % of, of) for number in range(of)]


@asynccontextmanager
async def open_links(
    account: Account,
    shares: Sequence[Share],
    *,
    open_link: OpenLink,
    limiter: Callable[[Account, int, Callable[[str], None]], AccountLimiter],
    announce: Callable[[str], None],
) -> AsyncIterator[AccountLinks]:
    """Open the links of an account's shares while the block runs."""
    announce = announce if len(shares) == 1 else announce_once(announce)
    async with AsyncExitStack() as stack:
        links: list[ShareLink] = []
        for share in shares:
            part, account_limiter = (
                account.part(share.number),
                limiter(account, share.number, announce),
            )
            wire = await stack.enter_async_context(open_link(part, account_limiter))
            links.append(ShareLink(part, share, account_limiter, wire))
        yield AccountLinks(account, links)


def announce_once(announce: Callable[[str], None]) -> Callable[[str], None]:
    """`announce`, but not what was announced just before: each share hears of a pause."""
    last = ""

    def announce_new(words: str) -> None:
        nonlocal last
        if words != last:
            last = words
            announce(words)

    return announce_new
