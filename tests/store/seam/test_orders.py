"""Orders for running runs."""

from __future__ import annotations

from pipeline.model.quota import Quota
from pipeline.store.seam import Order
from tests.store.seam.conftest import began


def test_nothing_is_ordered_at_first(store):
    assert store.orders.given("monday") == Order()
    store.orders.clear("monday")


def test_an_order_is_heard_in_another_process(store, other):
    began(store)
    order = Order(quotas={"shop": Quota(5, 1.0), "billing": Quota(100, 60.0, is_burst=True)})
    store.orders.give("monday", order)
    assert other.orders.given("monday") == order
    assert other.orders.given("tuesday") == Order()


def test_an_order_replaces_the_one_before(store):
    began(store)
    store.orders.give("monday", Order(quotas={"shop": Quota(5, 1.0)}))
    store.orders.give("monday", Order(is_stop=True))
    assert store.orders.given("monday") == Order(is_stop=True)
    store.orders.clear("monday")
    assert store.orders.given("monday") == Order()


def test_an_order_goes_with_its_run(store):
    began(store)
    store.orders.give("monday", Order(is_stop=True))
    store.runs.forget("monday")
    assert store.orders.given("monday") == Order()
