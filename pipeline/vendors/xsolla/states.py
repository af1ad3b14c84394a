"""The state of a promotion or coupon: read back, compared, merged, restored."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

from pydantic_core import to_json

from pipeline.model import Reply
from pipeline.vendors.kit import compare
from pipeline.vendors.kit.classify import json_object
from pipeline.vendors.kit.contract import MISSING, Difference, EntityPage, Missing, State
from pipeline.vendors.xsolla.bodies import MEMBERS
from pipeline.vendors.xsolla.replies import codes_of
from pipeline.vendors.xsolla.requests import ADDRESS_FIELDS, BODY_FIELDS, Job, entity
from pipeline.vendors.xsolla.settings import XsollaSettings

# COUPON, SPEC: default 10; no source says if an omitted limit means 10, none or unchanged
REDEEM_LIMITS: Final = ("redeem_total_limit", "redeem_user_limit", "redeem_code_limit")
_NEVER_NULL: Final = frozenset({"attribute_conditions", "limits", "excluded_promotions"})
_NO_SUCH: Final = frozenset({9502, 9802})  # SPEC: no such promotion, no such coupon


def state_of(
    fields: tuple[str, ...], key: str, s: XsollaSettings, job: Job, reply: Reply
) -> State | Missing | None:
    """The state of the job's entity in a reply; None if the reply names another one (SPEC)."""
    named = None if reply.is_cut else json_object(reply.body).get(key)
    is_another = isinstance(named, str | int) and str(named) != entity(s, job).id
    return None if is_another else _held(fields, reply)


def _held(fields: tuple[str, ...], reply: Reply) -> State | Missing | None:
    body = {} if reply.is_cut else json_object(reply.body)
    if reply.status == 404:  # noqa: PLR2004 - a status says what it is
        return None if _NO_SUCH.isdisjoint(codes_of(body)) else MISSING
    if reply.status != 200 or not isinstance(body.get("name"), dict):  # noqa: PLR2004
        return None
    held = _documented({n: body[n] for n in fields if n in body})
    return State({n: v for n, v in held.items() if v is not None or n not in _NEVER_NULL})


def page_of(
    fields: tuple[str, ...], key: str, _s: XsollaSettings, reply: Reply, offset: str
) -> EntityPage | None:
    """Entities in the one list of the body. SPEC: `promotions`; of coupons `items`.

    A page whose entities are not such as a read of one of them brings tells nothing.
    """
    body = {} if reply.is_cut or reply.status != 200 else json_object(reply.body)  # noqa: PLR2004
    lists = [value for value in body.values() if isinstance(value, list)]
    if len(lists) != 1 or not all(isinstance(item, dict) for item in lists[0]):
        return None
    found: dict[str, State] = {}
    for item in lists[0]:
        state = _held(fields, Reply(200, {}, to_json(item)))
        if not isinstance(state, State) or type(item.get(key)) not in (str, int):
            return None
        found[str(item[key])] = state
    counts = [n for name, n in body.items() if name.startswith("total_") and type(n) is int]
    last = int(offset or 0) + len(lists[0])
    total = counts[0] if len(counts) == 1 else None
    is_end = not lists[0] or (total is not None and last >= total)
    return EntityPage(found, total, "" if is_end else str(last))


def _limits(value: Any) -> Any:
    """SPEC: a read has `{"total": 5}` for 5 (older: 5), every day of the schedule, and more."""
    if not isinstance(value, dict):
        return value
    per_user, schedule = value.get("per_user"), value.get("recurrent_schedule")
    per_user = per_user.get("total") if isinstance(per_user, dict) else per_user
    every = schedule.get("per_user") if isinstance(schedule, dict) else schedule
    if isinstance(every, dict):
        days = {"weekly": "day_of_week", "monthly": "day_of_month"}
        names = ("interval_type", "time", days.get(str(every.get("interval_type"))))
        every = {name: every[name] for name in names if name in every}
    return {"per_user": per_user, "recurrent_schedule": {"per_user": every} if every else None}


_SHAPES: Final[Mapping[str, Callable[[Any], Any]]] = {  # START: Xsolla may add to its replies
    **{name: compare.only(*members) for name, members in MEMBERS.items()},
    "limits": _limits,
}


def _documented(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` without members that no source names: no source says if a read returns them."""
    return {n: _SHAPES[n](v) if n in _SHAPES else v for n, v in fields.items()}


def _attribute(item: Any) -> Hashable:
    is_number = isinstance(item, dict) and item.get("type") == "number"
    value = compare.number if is_number else compare.moment  # SPEC: all are text
    return compare.by_member(value=value, can_be_missing=lambda may: may or False)(item)  # inferred


_reward: Final = compare.by_member(quantity=lambda count: 1 if count is None else count)
# SPEC: a read shows what a full replace left out as null, or not at all
_MEANINGS: Final[Mapping[str, compare.Meaning]] = {
    "date_start": compare.moment,
    "date_end": compare.moment,
    # a cart has no order, but may hold an item twice. null is any purchase (BONUS); no source says
    # what an empty list is: not equal to null
    "condition": compare.bag_of(),
    # rewards have no order either, and no list and an empty list both give nothing
    "bonus": compare.bag_of(_reward, is_empty_null=True),
    # every condition must hold, in whatever order: BONUS of prices, inferred of attributes
    "price_conditions": compare.set_of(compare.by_member(value=compare.number)),
    "attribute_conditions": compare.set_of(_attribute),
    "excluded_promotions": compare.set_of(),  # each is excluded or it is not
    "limits.recurrent_schedule": lambda value: compare.meaning(  # its time on any one day
        (value or {}).get("per_user") or None, lambda text: compare.moment(f"2000-01-01T{text}")
    ),
}


def differences(_s: XsollaSettings, job: Job, state: State) -> tuple[Difference, ...]:
    """Compare what the row gives with the state, member by member."""
    given = job.given()
    # whatever Xsolla makes of an omitted redeem limit is right
    fields = [name for name in BODY_FIELDS[type(job)] if name in given or name not in REDEEM_LIMITS]
    return compare.differences(
        _documented(given), state.fields, fields, _MEANINGS, members_of=("name", "limits")
    )


# ------------------------------------------------------------------------------- plans and undo


def state_after(_s: XsollaSettings, job: Job, _state: State) -> State:
    """The state once the row is applied."""
    given = job.given()
    return State({name: given[name] for name in BODY_FIELDS[type(job)] if name in given})


def state_differences(
    fields: tuple[str, ...], _s: XsollaSettings, wanted: State, found: State
) -> tuple[Difference, ...]:
    """Compare two states, member by member."""
    first, second = (_documented(state.fields) for state in (wanted, found))
    return compare.differences(first, second, fields, _MEANINGS, members_of=("name", "limits"))


def merge(_s: XsollaSettings, job: Job, state: State) -> Job:
    """The row merged into the state: maps by key, all else as a whole; null and [] are values."""
    given = job.given()
    held: dict[str, Any] = dict(state.fields)
    for name in ("name", "limits"):
        if isinstance(given.get(name), dict) and isinstance(held.get(name), dict):
            given[name] = {**held[name], **given[name]}
    return _whole(job, {**held, **given})


def inverse(_s: XsollaSettings, job: Job, state: State) -> Job:
    """The update that restores `state`."""
    return _whole(job, state.fields)


def _whole(job: Job, fields: Mapping[str, Any]) -> Job:
    """An update of what `job` updates, to these fields; what they lack is sent as null.

    Not checked: a value that the vendor holds is not ours to refuse.
    """
    given = job.given()
    values: dict[str, Any] = {name: given[name] for name in ADDRESS_FIELDS if name in given}
    for name in BODY_FIELDS[type(job)]:
        # a read shows no list of conditions as none or empty, and an update may hold neither
        is_none = fields.get(name) is None or (name == "attribute_conditions" and not fields[name])
        if not (is_none and name in _NEVER_NULL):
            values[name] = fields.get(name)
    return type(job).trusted(to_json(values).decode())
