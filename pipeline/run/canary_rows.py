"""Which rows of a file are tried first: some of every account and operation. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

Kind = tuple[str, str]
"""Account and operation."""


class Candidate(NamedTuple):
    """A row that may be tried: what it is of, and what it updates."""

    row: int
    kind: Kind
    entity: str


def shares(sizes: Mapping[Kind, int], most: int) -> dict[Kind, int]:
    """How many rows of each kind are tried: as evenly as they are there, `most` in all.

    >>> shares({("a", "x"): 2, ("a", "y"): 900, ("b", "x"): 900}, 10)
    {('a', 'x'): 2, ('a', 'y'): 4, ('b', 'x'): 4}
    """
    found = dict.fromkeys(sizes, 0)
    left = most
    while left and (open_kinds := [kind for kind in sizes if found[kind] < sizes[kind]]):
        each = max(1, left // len(open_kinds))
        for kind in open_kinds:
            more = min(each, sizes[kind] - found[kind], left)
            found[kind] += more
            left -= more
    return found


def picked(rows: Iterable[Candidate], sizes: Mapping[Kind, int], most: int) -> set[str]:
    """The entities that are tried: in each kind spread over the whole file.

    rows   in row order; may be read once
    sizes  rows of each kind

    >>> kind = ("shop", "xsolla.coupon")
    >>> sorted(picked((Candidate(n, kind, f"c{n}") for n in range(1, 10)), {kind: 9}, 3))
    ['c1', 'c4', 'c7']
    """
    share = shares(sizes, most)
    seen: Counter[Kind] = Counter()
    found = set()
    for row in rows:
        number, wanted, size = seen[row.kind], share.get(row.kind, 0), sizes.get(row.kind, 0)
        # number is the first of its stretch, where the rows lie in `wanted` stretches
        if wanted and number == -(-(number * wanted // size) * size // wanted):
            found.add(row.entity)
        seen[row.kind] += 1
    return found


def first_of_each(rows: Iterable[Candidate], entities: set[str]) -> set[int]:
    """Of each entity the first row: no later row of an entity is tried before an earlier one.

    >>> kind = ("shop", "xsolla.coupon")
    >>> first_of_each([Candidate(1, kind, "a"), Candidate(2, kind, "a")], {"a"})
    {1}
    """
    left = set(entities)
    found = set()
    for row in rows:
        if row.entity in left:
            left.discard(row.entity)
            found.add(row.row)
    return found
