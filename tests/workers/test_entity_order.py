from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from pipeline.workers.entity_order import EntityOrder


def test_a_row_waits_only_behind_its_own_entity():
    order: EntityOrder[int] = EntityOrder()
    assert order.enter("a", 1)
    assert not order.enter("a", 2)
    assert order.enter("b", 3)
    assert order.waiting == 1
    assert order.is_awaited("a")
    assert not order.is_awaited("b")
    assert not order.is_awaited("never seen")


@given(st.lists(st.sampled_from("abc")), st.data())
def test_every_row_is_given_out_once_and_in_order_whatever_ends_first(entities, data):
    order: EntityOrder[int] = EntityOrder()
    under_way: dict[str, int] = {}
    went: dict[str, list[int]] = defaultdict(list)

    def go(entity: str, item: int) -> None:
        assert entity not in under_way  # never two rows of one entity at once
        under_way[entity] = item
        went[entity].append(item)

    def end_one() -> None:
        entity = data.draw(st.sampled_from(sorted(under_way)))
        del under_way[entity]
        following = order.leave(entity)
        if following is not None:
            go(entity, following)

    for item, entity in enumerate(entities):
        if order.enter(entity, item):
            go(entity, item)
        if under_way and data.draw(st.booleans()):
            end_one()
    while under_way:
        end_one()
    expected: dict[str, list[int]] = defaultdict(list)
    for item, entity in enumerate(entities):
        expected[entity].append(item)
    assert went == expected
    assert order.waiting == 0
    assert len(order) == 0
