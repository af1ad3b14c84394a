"""Plan, run, verify, undo, verify: what was there is there again, whatever it was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import ClientError
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.plan.bench import BONUS, COUPON, OFFER, Bench, bench, cells, counts, kinds

FAULTS = {"503": 0.03, "500-after": 0.03, "reset-after": 0.03, "reset-before": 0.02, "429": 0.01}

names = st.fixed_dictionaries(
    {"en-US": st.sampled_from(["Summer", "Winter"])},
    optional={"de-DE": st.sampled_from(["Sommer", "Ö"]), "fr-FR": st.just("Été")},
)
items = st.none() | st.lists(
    st.sampled_from([{"sku": "sword", "quantity": 2}, {"sku": "shield", "quantity": 1}]), max_size=2
)
dates = st.sampled_from([None, "2027-06-01T00:00:00+02:00", "2027-01-01T12:00:00Z"])
limit = st.sampled_from([None, 1, 10])
conditions = st.sampled_from(
    [
        [{"attribute": "race", "operator": "eq", "value": "elf", "type": "string"}],
        [{"attribute": "level", "operator": "ge", "value": "3", "type": "number"}],
    ]
)
COUPONS: Mapping[str, Any] = {
    "name": names,
    "bonus": items,
    "date_start": dates,
    "date_end": st.none(),
    "redeem_total_limit": limit,
    "redeem_user_limit": limit,
    "redeem_code_limit": limit,
    "attribute_conditions": conditions,
}
PROMOTIONS: Mapping[str, Any] = {
    "name": names,
    "condition": st.none() | st.just([{"sku": "sword"}]) | st.just([]),
    "bonus": items,
    "date_start": dates,
    "date_end": st.none(),
    "attribute_conditions": conditions,
    "limits": st.fixed_dictionaries(
        {"per_user": limit},
        optional={
            "recurrent_schedule": st.sampled_from(
                [
                    None,
                    {"per_user": {"interval_type": "daily", "time": "11:00:00+03:00"}},
                    {
                        "per_user": {
                            "interval_type": "weekly",
                            "time": "01:00:00+08:00",
                            "day_of_week": 3,
                        }
                    },
                ]
            )
        },
    ),
    "price_conditions": st.none() | st.just([{"operator": "ge", "value": "10.50"}]),
    "excluded_promotions": st.sampled_from([[], [12, 789]]),
}
MUST = {COUPON: ["name"], BONUS: ["name", "condition", "bonus"]}
FIELDS = {COUPON: COUPONS, BONUS: PROMOTIONS}
LIMITS = {"redeem_total_limit", "redeem_user_limit", "redeem_code_limit"}


def state_of(operation: str) -> st.SearchStrategy[dict[str, Any]]:
    """What the vendor holds: any fields but the required ones may be absent."""
    fields = FIELDS[operation]
    must = {name: fields[name] for name in MUST[operation]}
    return st.fixed_dictionaries(must, optional={n: v for n, v in fields.items() if n not in must})


@st.composite
def row_of(draw: st.DrawFn, operation: str, missing: str) -> dict[str, str]:
    """A row as the mode allows it: whole, a part, or with fields left out on purpose."""
    fields = FIELDS[operation]
    values = {name: draw(strategy) for name, strategy in fields.items()}
    must = {*MUST[operation], *(LIMITS if missing != "keep" else ())}
    for name in fields:
        if missing != "keep" and name in must:
            continue
        if draw(st.booleans()):
            values[name] = "omit" if missing == "refuse" else ""
    return cells(values)


@st.composite
def campaigns(
    draw: st.DrawFn, operation: str, missing: str
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """What entities hold, and rows; some entities have several."""
    states = draw(st.lists(state_of(operation), min_size=8, max_size=8))
    key = "external_id" if operation == COUPON else "promotion_id"
    whom = draw(st.lists(st.integers(1, len(states)), min_size=10, max_size=10))
    rows = [{key: str(number), **draw(row_of(operation, missing))} for number in whom]
    return states, rows


async def taken_back(work: Bench, operation: str, rows: list[dict[str, str]]) -> None:
    before = work.held()
    made = await work.plan(work.file("rows.csv", rows), operation)
    assert work.held() == before, "a plan changes something"
    assert set(kinds(made)) <= {"changes", "unchanged"}, kinds(made)
    sent = await work.run(made.path)
    assert set(counts(sent)) <= {"updated", "unchanged"}, sent.errors
    assert counts(sent).get("updated", 0) == kinds(made).get("changes", 0)
    after = work.held()
    if not kinds(made).get("changes"):
        return
    found = await work.verify(sent.run)
    assert not found.drifted, found.examples
    assert not found.unread
    undone, summary = await work.undo(sent.run)
    assert set(kinds(undone)) <= {"changes", "unchanged"}, kinds(undone)
    assert work.held() == before, "what was there is not there again"
    if summary is None:
        return
    assert set(counts(summary)) <= {"updated", "unchanged"}, summary.errors
    assert not (await work.verify(summary.run)).drifted
    _, again = await work.undo(summary.run)
    assert again is not None
    assert work.held() == after, "the undo cannot be undone"


# An example takes a second: many entities in few examples, and no shrinking.
# `PLAN_EXAMPLES=50 pytest tests/plan/test_take_back.py` is the long form.
IS_LONG = "PLAN_EXAMPLES" in os.environ
MODES = ("refuse", "keep", "clear")
FEW = settings(
    max_examples=int(os.environ.get("PLAN_EXAMPLES", "1")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.generate],
)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    """A draw: waits before another attempt are a twentieth of what they may be."""
    monkeypatch.setattr("random.random", lambda: 0.05)


SHORT = [(COUPON, "keep"), (BONUS, "refuse"), (COUPON, "clear")]
EVERY = [(operation, missing) for operation in (COUPON, BONUS) for missing in MODES]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("operation", "missing"), EVERY if IS_LONG else SHORT)
@FEW
@given(data=st.data(), seed=st.integers(0, 1000))
def test_whatever_was_there_is_there_again_while_the_vendor_stumbles(
    operation, missing, data, seed
):
    assume(seed)  # the first example is the simplest of all: too simple
    states, rows = data.draw(campaigns(operation, missing))

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with bench(Path(folder), missing=missing, faults=FAULTS, seed=seed) as work:
                for number, state in enumerate(states, start=1):
                    await put_until_held(work, operation, str(number), state)
                await taken_back(work, operation, rows)

    anyio.run(main)


async def put_until_held(work: Bench, operation: str, entity: str, state: dict[str, Any]) -> None:
    for _ in range(20):
        try:
            await work.put(operation, entity, state)
        except (AssertionError, ClientError):
            continue
        return
    raise AssertionError("the vendor takes nothing")


OFFERS = st.lists(
    st.sampled_from(
        [
            {"status": "approved"},
            {"status": "archived", "/_instance/xdm:name": "Other"},
            {"add:/_instance/xdm:characteristics": "x"},
            {"patch": '[{"op": "add", "path": "/_instance/xdm:tags", "value": ["a", "b"]}]'},
            {"status": "draft"},
        ]
    ),
    min_size=10,
    max_size=10,
)


@pytest.mark.timeout(3600)
@FEW
@given(OFFERS, st.lists(st.integers(1, 5), min_size=10, max_size=10), st.integers(0, 1000))
def test_offers_are_put_back_as_well(rows, whom, seed):
    assume(len(set(whom)) > 1)
    placed = [{"instance_id": f"o{n}", **row} for n, row in zip(whom, rows, strict=False)]

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with bench(Path(folder), faults=FAULTS, seed=seed) as work:
                first = [
                    {
                        "instance_id": f"o{n}",
                        "status": "approved",
                        "/_instance/xdm:name": f"Was {n}",
                    }
                    for n in range(1, 6)
                ]
                await work.run(work.file("first.csv", first), OFFER)
                await taken_back(work, OFFER, placed)

    anyio.run(main)
