"""Keeps a JSON Patch from being applied twice, by tests that the patch itself makes fail. Pure.

If one operation fails, such as a `test`, the whole patch fails (RFC 6902, section 5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

from pipeline.vendors.kit.compare import ABSENT, PatchStep, Place, meaning, overlap, value_at
from pipeline.vendors.kit.json_patch import applied

_IN_A_LIST = re.compile(r"-|[0-9]+")  # or a member of that name: only the vendor knows which
_UNKNOWN: Final = object()
_ANYTHING: Final = ...  # a value copied from elsewhere; a deep copy keeps it


def is_harmless(step: PatchStep) -> bool:
    """True if applying a step twice has the effect of once. `add` to a list inserts: False.

    >>> steps = PatchStep("add", ("name",), "x"), PatchStep("add", ("tags", "-"), "x")
    >>> [is_harmless(step) for step in steps]
    [True, False]
    """
    if step.name == "add":
        return not step.place or not _IN_A_LIST.fullmatch(step.place[-1])
    return step.name in {"replace", "test"}  # a test changes nothing


def is_guarded(steps: Sequence[PatchStep]) -> bool:
    """True if the tests at the start of a patch make it fail the second time.

    >>> is_guarded([PatchStep("test", ("tags",), ["a"]), PatchStep("add", ("tags", "-"), "x")])
    True
    """
    tests = list(takewhile(lambda step: step.name == "test", steps))
    return any(_ends_untrue(test, steps[len(tests) :]) for test in tests)


def can_be_guarded(steps: Sequence[PatchStep]) -> bool:
    """True if there are documents for which `guards_for` finds a test.

    >>> can_be_guarded([PatchStep("copy", ("b",), source=("a",))])
    False
    """
    return any(
        _stem(step.place) and not (step.name == "copy" and _stem(step.place) == step.place)
        for step in steps
        if step.name != "test"
    )


def guards_for(
    steps: Sequence[PatchStep], document: Mapping[str, Any], may_be_sent: Callable[[Any], bool]
) -> tuple[PatchStep, ...]:
    """Return tests that hold in `document` and fail after the patch; empty if there are none.

    Every place with a step that must not be repeated is tested, a list as a whole because its items
    move.

    may_be_sent  returns whether a value of the document may be part of a request

    >>> guards_for([PatchStep("add", ("tags", "-"), "x")], {"tags": ["a"]}, lambda _value: True)
    (PatchStep(name='test', place=('tags',), value=['a'], source=()),)
    """
    harmful = [step for step in steps if not is_harmless(step)]
    tests = list(_tests_at(map(_place, harmful), document, may_be_sent))
    if any(_ends_untrue(test, steps) for test in tests):
        return tuple(tests)
    others = [step for step in steps if is_harmless(step) and step.name != "test"]
    more = _tests_at(map(_place, others), document, may_be_sent)
    found = next((test for test in more if _ends_untrue(test, steps)), None)
    return () if found is None else (*tests, found)


def _place(step: PatchStep) -> Place:
    return _stem(step.place)


def _tests_at(
    places: Iterator[Place], document: Mapping[str, Any], may_be_sent: Callable[[Any], bool]
) -> Iterator[PatchStep]:
    for place in dict.fromkeys(places):
        value = value_at(document, place)
        if place and value is not ABSENT and may_be_sent(value):
            yield PatchStep("test", place, value)


def _stem(place: Place) -> Place:
    """The part of a place above the first list item."""
    return tuple(takewhile(lambda token: not _IN_A_LIST.fullmatch(token), place))


def _ends_untrue(test: PatchStep, steps: Sequence[PatchStep]) -> bool:
    """True if `steps` certainly leave another value at the place that `test` tests.

    >>> draft = PatchStep("test", ("status",), "draft")
    >>> _ends_untrue(draft, [PatchStep("replace", ("status",), "approved")])
    True
    >>> _ends_untrue(draft, [PatchStep("add", ("tags", "-"), "x")])
    False
    """
    if _stem(test.place) != test.place:
        return False  # an item of a list moves when items before it come or go
    value = test.value
    for step in steps:
        value = _after(value, test.place, step)
        if value is _UNKNOWN:
            return False
    return _surely_differ(value, test.value)


def _surely_differ(one: Any, other: Any) -> bool:
    """True if the two differ for every value of `_ANYTHING` in `one`.

    >>> _surely_differ([1, ...], [1]), _surely_differ([1, ...], [1, 2])
    (True, False)
    """
    if one is _ANYTHING:
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(map(_surely_differ, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() != other.keys() or any(_surely_differ(one[n], other[n]) for n in one)
    return meaning(one) != meaning(other)


def _after(value: Any, place: Place, step: PatchStep) -> Any:
    """The value at `place` after a step if it was `value` before; `_UNKNOWN` if undecided."""
    size = len(place)
    if step.name == "test":
        return value
    if step.name == "move" and overlap(step.source, place):
        return _UNKNOWN
    if step.place == place and step.name in {"add", "replace", "remove"}:
        return ABSENT if step.name == "remove" else step.value
    if not overlap(step.place, place):
        return value
    if len(step.place) <= size or not isinstance(value, dict | list):
        return _UNKNOWN
    if step.name == "copy" and step.source[:size] != place:
        step = PatchStep("add", step.place, _ANYTHING)
    return _applied(value, step, size)


def _applied(value: Any, step: PatchStep, size: int) -> Any:
    """`value` after a step within it; `size` tokens of the step's place lead to the value."""
    place, source = ("", *step.place[size:]), ("", *step.source[size:])
    after = applied([PatchStep(step.name, place, step.value, source)], {"": value})
    return _UNKNOWN if after is None else after[""]
