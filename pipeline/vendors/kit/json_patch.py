"""Applies a JSON Patch, and builds the patch that undoes it. Pure: arguments are not changed.

Steps are `compare.PatchStep`s: operations of RFC 6902 with their pointers split into tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.vendors.kit.compare import ABSENT, INDEX, PatchStep, Place, meaning, value_at


def applied(steps: Sequence[PatchStep], document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The document after a patch; None if the patch cannot be applied to it.

    >>> applied([PatchStep("add", ("tags", "-"), "x"), PatchStep("remove", ("name",))],
    ...         {"tags": [], "name": "a"})
    {'tags': ['x']}
    >>> applied([PatchStep("test", ("name",), "b")], {"name": "a"}) is None
    True
    """
    root: dict[str, Any] = {"": copy.deepcopy(dict(document))}
    for step in steps:
        if not _apply(root, step):
            return None
    found = root[""]
    return found if isinstance(found, dict) else None


def _apply(root: dict[str, Any], step: PatchStep) -> bool:
    """Apply one step; False if it cannot be. `root` holds the document under an empty name."""
    place = ("", *step.place)
    if step.name == "test":
        found = value_at(root, place)
        return found is not ABSENT and meaning(found) == meaning(step.value)
    if step.name in {"copy", "move"}:
        source = ("", *step.source)
        value = value_at(root, source)
        if value is ABSENT or (step.name == "move" and not _removed(root, source)):
            return False
        return _added(root, place, copy.deepcopy(value))
    if step.name == "add":
        return _added(root, place, copy.deepcopy(step.value))
    if step.name == "remove":
        return _removed(root, place)
    return step.name == "replace" and _replaced(root, place, copy.deepcopy(step.value))


def _added(root: dict[str, Any], place: Place, value: Any) -> bool:
    above, last = value_at(root, place[:-1]), place[-1]
    if isinstance(above, dict):
        above[last] = value
        return True
    if not isinstance(above, list):
        return False
    index = len(above) if last == "-" else int(last) if INDEX.fullmatch(last) else -1
    if not 0 <= index <= len(above):
        return False
    above.insert(index, value)
    return True


def _removed(root: dict[str, Any], place: Place) -> bool:
    if value_at(root, place) is ABSENT:
        return False
    above = value_at(root, place[:-1])
    del above[place[-1] if isinstance(above, dict) else int(place[-1])]
    return True


def _replaced(root: dict[str, Any], place: Place, value: Any) -> bool:
    if value_at(root, place) is ABSENT:
        return False
    above = value_at(root, place[:-1])
    above[place[-1] if isinstance(above, dict) else int(place[-1])] = value
    return True


def restoring(
    steps: Sequence[PatchStep], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[PatchStep]:
    """Return the patch that restores, in `after`, the content that `before` has where steps wrote.

    Nothing else is touched. If an item of a list was written, the whole list is restored, because
    its items have no names.

    >>> restoring([PatchStep("add", ("tags", "-"), "x")], {"tags": ["y"]}, {"tags": ["y", "x"]})
    [PatchStep(name='replace', place=('tags',), value=['y'], source=())]
    """
    found = []
    for place in _outermost(steps, before, after):
        was, now = value_at(before, place), value_at(after, place)
        if was is ABSENT and now is not ABSENT:
            found.append(PatchStep("remove", place))
        elif was is not ABSENT and now is ABSENT:
            found.append(PatchStep("add", place, was))
        elif was is not ABSENT and meaning(was) != meaning(now):
            found.append(PatchStep("replace", place, was))
    return found


def _outermost(
    steps: Sequence[PatchStep], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[Place]:
    """The places that steps wrote, none within another; a place in a list becomes the list."""
    written = dict.fromkeys(
        _above_lists(_above_lists(place, before), after)
        for step in steps
        if step.name != "test"
        for place in _written_by(step)
    )
    return [
        place
        for place in written
        if not any(place != other and place[: len(other)] == other for other in written)
    ]


def _written_by(step: PatchStep) -> Iterator[Place]:
    yield step.place
    if step.name == "move":
        yield step.source


def _above_lists(place: Place, document: Mapping[str, Any]) -> Place:
    for length in range(len(place)):
        if isinstance(value_at(document, place[:length]), list):
            return place[:length]
    return place
