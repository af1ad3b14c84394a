"""Selects the rows of a canary from every account and operation. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

Kind = tuple[str, str]
"""Account and operation."""


class Candidate(NamedTuple):
    """A row that may be selected, with its account, operation and entity."""

    row: int
    kind: Kind
    entity: str


def shares(sizes: Mapping[Kind, int], most: int) -> dict[Kind, int]:
    """Number of rows to select of each kind: as even as possible, `most` in all.

    >>> shares({("a", "x"): 2, ("a", "y"): 900, ("b", "x"): 900}, 10)
    {('a', 'x'): 2, ('a', 'y'): 4, ('b', 'x'): 4}
    """
    found = dict.fromkeys(sizes, 0)
    remaining = most
    while remaining and (open_kinds := [kind for kind in sizes if found[kind] < sizes[kind]]):
        each = max(1, remaining // len(open_kinds))
        for kind in open_kinds:
            more = min(each, sizes[kind] - found[kind], remaining)
            found[kind] += more
            remaining -= more
    return found


def select_entities(rows: Iterable[Candidate], sizes: Mapping[Kind, int], most: int) -> set[str]:
    """Select entities of each kind, spread over the whole file.

    rows   in row order; read once
    sizes  number of rows of each kind
    most   number of entities in all

    >>> kind = ("shop", "xsolla.coupon")
    >>> sorted(select_entities((Candidate(n, kind, f"c{n}") for n in range(1, 10)), {kind: 9}, 3))
    ['c1', 'c4', 'c7']
    """
    share = shares(sizes, most)
    seen: Counter[Kind] = Counter()
    found = set()
    for row in rows:
        number, wanted, size = seen[row.kind], share.get(row.kind, 0), sizes.get(row.kind, 0)
        # the first row of each of `wanted` equal parts of the file
        if wanted and number == -(-(number * wanted // size) * size // wanted):
            found.add(row.entity)
        seen[row.kind] += 1
    return found


def first_rows(rows: Iterable[Candidate], entities: set[str]) -> set[int]:
    """The first row of each entity: no row is sent before an earlier one of its entity.

    >>> kind = ("shop", "xsolla.coupon")
    >>> first_rows([Candidate(1, kind, "a"), Candidate(2, kind, "a")], {"a"})
    {1}
    """
    remaining = set(entities)
    found = set()
    for row in rows:
        if row.entity in remaining:
            remaining.discard(row.entity)
            found.add(row.row)
    return found
