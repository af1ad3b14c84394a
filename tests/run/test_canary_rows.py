"""Which rows are tried first."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.run.canary_rows import Candidate, first_rows, select_entities, shares

X, Y, Z = ("a", "x"), ("a", "y"), ("b", "x")


@pytest.mark.parametrize(
    ("sizes", "most", "expected", "why"),
    [
        ({X: 100}, 5, {X: 5}, "one kind takes all"),
        ({X: 100, Y: 100}, 5, {X: 3, Y: 2}, "evenly"),
        ({X: 1, Y: 100}, 10, {X: 1, Y: 9}, "no more than there are"),
        ({X: 2, Y: 2}, 50, {X: 2, Y: 2}, "a small file is tried whole"),
        ({X: 9, Y: 9, Z: 9}, 2, {X: 1, Y: 1, Z: 0}, "fewer than kinds"),
        ({}, 5, {}, "an empty file"),
    ],
)
def test_every_kind_has_its_share(sizes, most, expected, why):
    assert shares(sizes, most) == expected, why


@given(
    st.lists(st.tuples(st.sampled_from([X, Y, Z]), st.integers(0, 30)), max_size=80),
    st.integers(1, 20),
)
def test_what_is_tried_is_spread_and_never_overtakes(rows, most):
    candidates = [Candidate(n, kind, f"{kind}{e}") for n, (kind, e) in enumerate(rows, 1)]
    sizes = Counter(each.kind for each in candidates)
    chosen = select_entities(iter(candidates), sizes, most)
    assert len(chosen) <= most
    tried = first_rows(iter(candidates), chosen)
    assert len(tried) == len(chosen)
    by_row = {each.row: each for each in candidates}
    for row in tried:
        earlier = [each for each in candidates if each.row < row]
        assert by_row[row].entity not in {each.entity for each in earlier}
    if most >= len(sizes):
        assert {by_row[row].kind for row in tried} == set(sizes), "a kind is not tried"


@pytest.mark.parametrize(("size", "most"), [(1000, 50), (999, 50), (50, 50), (7, 3), (3, 7)])
def test_it_is_as_many_as_asked_for_and_not_just_the_first(size, most):
    candidates = [Candidate(n, X, f"e{n}") for n in range(1, size + 1)]
    tried = sorted(first_rows(candidates, select_entities(candidates, {X: size}, most)))
    assert len(tried) == min(size, most)
    assert tried[0] == 1
    gaps = {after - before for before, after in pairwise(tried)}
    assert max(gaps) - min(gaps) <= 1, "not evenly"
