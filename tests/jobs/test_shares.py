"""Which share an entity belongs to: for ever the same, and about as many in each."""

from collections import Counter

import pytest

from pipeline.jobs.shares import is_in_share, share_of

# Worked out once, with another program: a run that began with them is resumed with them.
VECTORS = [
    ("", (0, 0, 1, 0, 1, 4)),
    ("a", (0, 0, 1, 2, 4, 10)),
    ("xsolla|https://store.xsolla.com|44056|coupon|autumn_01", (0, 1, 1, 1, 0, 13)),
    ("adobe|https://platform.adobe.io|prod|fallback-offer|ünïcode|x", (0, 0, 2, 2, 5, 14)),
    ("oracle|https://billing.example.com:7002||offer|209130", (0, 1, 1, 3, 2, 11)),
]


@pytest.mark.parametrize(("entity", "shares"), VECTORS)
def test_the_share_of_an_entity_never_changes(entity, shares):
    assert tuple(share_of(entity, of) for of in (1, 2, 3, 4, 7, 16)) == shares


@pytest.mark.parametrize("of", [1, 2, 3, 4, 16])
def test_each_entity_is_in_one_share(of):
    entities = [f"xsolla|https://store.xsolla.com|44056|coupon|sku_{n:06}" for n in range(500)]
    found = [is_in_share(entities, number, of) for number in range(of)]
    assert all(sum(shares) == 1 for shares in zip(*found, strict=True))


def test_shares_of_consecutive_ids_are_about_equal():
    entities = [f"xsolla|https://store.xsolla.com|44056|coupon|{n}" for n in range(40_000)]
    counts = Counter(share_of(entity, 4) for entity in entities)
    assert all(9_600 < count < 10_400 for count in counts.values())
