"""Applies a patch to a document, and checks what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from jsonpatch import JsonPatch, JsonPatchException, PatchOperation
from jsonpointer import JsonPointerException

from pipeline.simulator.content import date_time_fault, parse_json
from pipeline.simulator.vendors.adobe.dialects import Dialect
from pipeline.simulator.vendors.adobe.errors import ServiceError


def parsed_patch(raw: bytes) -> list[dict[str, Any]]:
    """The operations of a body. Raises ServiceError if it is not a list of objects."""
    try:
        patch = parse_json(raw)
    except ValueError as error:
        raise ServiceError(400, "Bad Request", f"The body is not JSON: {error}") from error
    if not isinstance(patch, list) or not all(isinstance(step, dict) for step in patch):
        raise ServiceError(400, "Bad Request", "The body is not an array of operations")
    return patch


def patched_document(
    dialect: Dialect, document: dict[str, Any], patch: list[dict[str, Any]]
) -> dict[str, Any]:
    """The document after the whole patch; `document` is not changed.

    Raises ServiceError if the patch does not apply, or leaves a document with a fault.
    """
    for step in patch:
        if step.get("op") not in dialect.ops:
            raise _unprocessable(f"op {step.get('op')!r} is not one of {sorted(dialect.ops)}")
        for key in ("path", "from"):
            pointer = step.get(key, dialect.below)
            if not isinstance(pointer, str) or not pointer.startswith(dialect.below):
                raise _unprocessable(f"{key} {pointer!r} does not start with {dialect.below}")
    try:
        patched: dict[str, Any] = _Patch(patch).apply(document)
        json.dumps(patched, allow_nan=False)
    except (JsonPatchException, JsonPointerException, RecursionError, ValueError) as error:
        raise _unprocessable(str(error)) from error
    after = dialect.entity(patched)
    if not _same(_fixed(dialect, dialect.entity(document)), _fixed(dialect, after)):
        raise _unprocessable("The patch changes a property that is not user-editable")
    faults = list(_faults(after, dialect.prefix))
    if faults:
        raise _unprocessable("; ".join(faults))
    return patched


def _fixed(dialect: Dialect, entity: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entity.items() if dialect.is_fixed(name)}


def _unprocessable(detail: str) -> ServiceError:
    return ServiceError(422, "Unprocessable Entity", detail)


def _same(one: object, other: object) -> bool:
    """JSON equality. In Python True == 1, which in JSON are two things.

    >>> _same([1, {"a": None}], [1.0, {"a": None}]), _same(True, 1)
    (True, False)
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


class _Test(PatchOperation):
    """The operation `test`, by JSON equality."""

    def apply(self, obj: Any) -> Any:
        """The current document."""
        if "value" not in self.operation:
            raise JsonPatchException("The operation does not contain a 'value' member")
        if not _same(self.pointer.resolve(obj), self.operation["value"]):
            raise JsonPatchException(f"{self.location} is not the tested value")
        return obj


class _Patch(JsonPatch):
    operations = MappingProxyType({**JsonPatch.operations, "test": _Test})


def _faults(entity: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """The faults of an entity whose properties have this prefix."""
    name, status = f"{prefix}name", f"{prefix}status"
    if not isinstance(entity.get(name), str):
        yield f"{name} must be a string"
    if entity.get(status) not in ("draft", "approved", "archived"):
        yield f"{status} must be one of draft, approved, archived"
    if not isinstance(entity.get(f"{prefix}description", ""), str):
        yield f"{prefix}description must be a string"
    yield from _within(entity, f"{prefix}rank", _at_least(0), f"{prefix}priority")
    caps = (f"{prefix}globalCap", f"{prefix}profileCap")
    yield from _within(entity, f"{prefix}cappingConstraint", _at_least(1), *caps)
    dates = (f"{prefix}startDate", f"{prefix}endDate")
    yield from _within(entity, f"{prefix}selectionConstraint", date_time_fault, *dates)
    yield from _repeats(entity, f"{prefix}representations", f"{prefix}placement")
    yield from _repeats(entity, f"{prefix}tags")


def _at_least(least: int) -> Callable[[object], str | None]:
    def fault(value: object) -> str | None:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return None if is_integer and value >= least else f"must be an integer, {least} or more"  # type: ignore[operator]

    return fault


def _within(
    entity: Mapping[str, Any], name: str, fault: Callable[[object], str | None], *members: str
) -> Iterator[str]:
    if name not in entity:
        return
    inner = entity[name]
    if not isinstance(inner, dict):
        yield f"{name} must be an object"
        return
    for member in members:
        if member in inner and (words := fault(inner[member])):
            yield f"{name}/{member} {words}"


def _repeats(entity: Mapping[str, Any], name: str, member: str | None = None) -> Iterator[str]:
    """A fault if the items of an array, or this member of each, are not unique."""
    items = entity.get(name, [])
    if not isinstance(items, list):
        yield f"{name} must be an array"
        return
    if member is not None:
        if not all(isinstance(item, dict) for item in items):
            yield f"{name} must be an array of objects"
            return
        items = [item[member] for item in items if member in item]
    if not all(isinstance(item, str) for item in items):
        yield f"{name} must hold text"
    elif len(set(items)) < len(items):
        yield f"{name} must not name one thing twice"
