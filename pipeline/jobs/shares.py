"""The share of an account that an entity belongs to. Pure.

All rows of an entity are in one share, so that their order holds although several processes send
the shares of an account. The numbers are part of the record: they must not change, whatever the
version, the machine or the Python, because a resumed run continues each share where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def share_of(entity: str, of: int) -> int:
    """The number, from 0, of the share that an entity belongs to.

    entity  text of its key
    of      number of shares

    It is the first 8 bytes of the SHA-256 of the text in UTF-8, as a big-endian number, modulo
    `of`.

    >>> share_of("xsolla|https://store.xsolla.com|44056|coupon|autumn_01", 4)
    1
    """
    return int.from_bytes(sha256(entity.encode()).digest()[:8]) % of


ROWS_PER_SHARE = 25
"""An account with fewer rows is sent as one share: each share needs some rows to tell, before it
gives up, whether the account or a row is at fault."""


def shares_for(rows: int, of: int) -> int:
    """The number of shares in which the rows of an account with `of` shares are sent.

    >>> shares_for(99, 4), shares_for(100, 4)
    (1, 4)
    """
    return of if rows >= of * ROWS_PER_SHARE else 1


def is_in_share(entities: Sequence[str], number: int, of: int) -> list[bool]:
    """For each of these entities, True if it belongs to share `number` of `of`."""
    return [share_of(entity, of) == number for entity in entities]
