"""What keeps a JSON Patch from being carried out twice: tests that no longer hold after it. Pure.

One operation that fails, a `test` among them, ends the whole patch (RFC 6902, section 5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

from pipeline.vendors.kit.compare import ABSENT, PatchStep, Place, meaning, value_at
from pipeline.vendors.kit.json_patch import applied

_IN_A_LIST = re.compile(r"-|[0-9]+")  # or a member of that name: only the vendor knows which
_UNPLAIN: Final = object()
_ANYTHING: Final = ...  # what a copy brings from elsewhere; copied with what it stands in, it stays


def is_harmless(step: PatchStep) -> bool:
    """Whether it leaves the same when done twice. In a list, `add` makes room: it does not.

    >>> steps = PatchStep("add", ("name",), "x"), PatchStep("add", ("tags", "-"), "x")
    >>> [is_harmless(step) for step in steps]
    [True, False]
    """
    if step.name == "add":
        return not step.place or not _IN_A_LIST.fullmatch(step.place[-1])
    return step.name in {"replace", "test"}  # a test changes nothing


def is_guarded(steps: Sequence[PatchStep]) -> bool:
    """Whether tests that lead the patch end it when it comes a second time.

    >>> is_guarded([PatchStep("test", ("tags",), ["a"]), PatchStep("add", ("tags", "-"), "x")])
    True
    """
    tests = list(takewhile(lambda step: step.name == "test", steps))
    return any(_ends_untrue(test, steps[len(tests) :]) for test in tests)


def can_be_guarded(steps: Sequence[PatchStep]) -> bool:
    """Whether a document can be such that `guards_for` finds a test.

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
    """Tests that hold in `document` and no longer after the patch; none where nothing fits.

    What must not be done twice is tested as it is: a list whole, since its items move.

    may_be_sent  whether a value of the document is fit for a request

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
    """As much of a place as names no place in a list."""
    return tuple(takewhile(lambda token: not _IN_A_LIST.fullmatch(token), place))


def _ends_untrue(test: PatchStep, steps: Sequence[PatchStep]) -> bool:
    """Whether `steps` certainly leave something else where `test` looks.

    >>> draft = PatchStep("test", ("status",), "draft")
    >>> _ends_untrue(draft, [PatchStep("replace", ("status",), "approved")])
    True
    >>> _ends_untrue(draft, [PatchStep("add", ("tags", "-"), "x")])
    False
    """
    if _stem(test.place) != test.place:
        return False  # what stands at a place in a list moves with what goes before it
    value = test.value
    for step in steps:
        value = _after(value, test.place, step)
        if value is _UNPLAIN:
            return False
    return _surely_differ(value, test.value)


def _surely_differ(one: Any, other: Any) -> bool:
    """Whether they are unlike whatever stands for `_ANYTHING` in `one`.

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
    """What stands at `place` after a step, where `value` did; `_UNPLAIN` where nobody can say."""
    size = len(place)
    if step.name == "test":
        return value
    if step.name == "move" and _touch(step.source, place):
        return _UNPLAIN
    if step.place == place and step.name in {"add", "replace", "remove"}:
        return ABSENT if step.name == "remove" else step.value
    if not _touch(step.place, place):
        return value
    if len(step.place) <= size or not isinstance(value, dict | list):
        return _UNPLAIN
    if step.name == "copy" and step.source[:size] != place:
        step = PatchStep("add", step.place, _ANYTHING)
    return _applied(value, step, size)


def _applied(value: Any, step: PatchStep, size: int) -> Any:
    """`value` after a step within it, whose place has `size` tokens above it."""
    place, source = ("", *step.place[size:]), ("", *step.source[size:])
    after = applied([PatchStep(step.name, place, step.value, source)], {"": value})
    return _UNPLAIN if after is None else after[""]


def _touch(one: Place, other: Place) -> bool:
    """Whether one place lies at or below the other."""
    return all(first == second for first, second in zip(one, other, strict=False))
