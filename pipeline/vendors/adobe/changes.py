"""The changes of a row: its columns, checked, as operations of JSON Patch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from jsonpointer import JsonPointer, JsonPointerException
from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from pipeline.model.validation import value_error
from pipeline.vendors.kit import compare
from pipeline.vendors.kit.json_values import EXPECTED, is_json, is_whole

SHOWN_MESSAGE_CHARS = 500
SHOWN_ID_CHARS = 100

STATUSES: Final = ("draft", "approved", "archived")  # SERVICE
PATCH: Final = "patch"

# UPDATE has xdm:status; DPS has the root of the document, with name and description
NAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "xcore": {"status": "/_instance/xdm:status"},
    "dps": {"status": "/status", "name": "/name", "description": "/description"},
}
COLUMN = re.compile(r"(add:|remove:|)(/.*)", re.DOTALL)
MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {  # RFC 6902, section 4
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "copy": ("from", "path"),
    "move": ("from", "path"),
    "test": ("path", "value"),
}

Place = tuple[int | str, ...]
Complaint = tuple[Place, str]

_NO_CHANGE = (
    "expected a value in at least one column that changes something: status, name, description, "
    "patch, a JSON Pointer such as /name (xcore: /_instance/xdm:name), or one after add: or remove:"
)
_NO_POINTER = "a JSON Pointer, as in /_instance/xdm:name; within a name ~ is ~0 and / is ~1"
_NO_TEXT = "expected text; other types, and null, go through the column patch"


def checked(given: Any) -> dict[str, Any]:
    """Validate the columns of a row that change something; name every invalid one."""
    if given is None or given == {}:
        raise value_error(_NO_CHANGE)
    if not isinstance(given, dict):
        raise value_error("expected an object")
    found = [
        InitErrorDetails(
            type=value_error(f"{text} ({_in_words(place)})" if place else text),
            loc=(str(key), *place),
            input=value,
        )
        for key, value in given.items()
        for place, text in _member_complaints(str(key), value)
    ]
    if found:
        raise ValidationError.from_exception_data("changes", found)
    return given


def _in_words(place: Place) -> str:
    """A place within a cell.

    >>> _in_words((1, "path"))
    'item 2, path'
    """
    return ", ".join(f"item {step + 1}" if isinstance(step, int) else step for step in place)


def _member_complaints(key: str, value: Any) -> Iterator[Complaint]:
    if key == PATCH:
        yield from _patch_complaints(value)
    elif key == "status":
        if value not in STATUSES:
            yield (), "expected draft, approved or archived"
    elif key in NAMED["dps"]:
        yield from _text_complaints(value)
    elif (column := COLUMN.fullmatch(key)) is None:
        yield (), "expected no such column"
    else:
        prefix, pointer = column.groups()
        if _tokens_or_none(pointer) is None:
            yield (), f"expected a header that is {_NO_POINTER}"
        if prefix != "remove:":
            yield from _text_complaints(value)
        elif value is not True:
            yield (), "expected true, which removes it; leave the cell empty to keep it"


def _text_complaints(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str):
        yield (), _NO_TEXT
    elif not is_whole(value):
        yield (), "expected whole characters, not half of a surrogate pair"


def _patch_complaints(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, list) or not value:
        yield (), "expected a list of at least one operation"
        return
    for number, operation in enumerate(value):
        for place, text in _operation_complaints(operation):
            yield (number, *place), text


def _operation_complaints(operation: Any) -> Iterator[Complaint]:
    if not isinstance(operation, dict):
        yield (), "expected an object with op and path"
        return
    name = operation.get("op")
    members = MEMBERS.get(name) if isinstance(name, str) else None
    if members is None:
        yield ("op",), f"expected one of {', '.join(MEMBERS)}"
        return
    for member in members:
        if member not in operation:
            yield (member,), "expected a value"
        elif member == "value":
            if not is_json(operation[member]):
                yield (member,), EXPECTED
        elif _tokens_or_none(operation[member]) is None:
            yield (member,), f"expected {_NO_POINTER}"
    for member in operation:  # RFC 6902, 4: others are ignored; `_doubts` names them
        if member not in (*members, "op") and not is_json({member: operation[member]}):
            yield (str(member),), EXPECTED


@lru_cache(maxsize=4096)  # the headers of a file come again in every row
def tokens_of(pointer: str) -> tuple[str, ...]:
    """The steps of a JSON Pointer; raises JsonPointerException.

    >>> tokens_of("/tags/a~1b")
    ('tags', 'a/b')
    """
    return tuple(JsonPointer(pointer).parts)


def _tokens_or_none(pointer: Any) -> tuple[str, ...] | None:
    if not isinstance(pointer, str) or not is_whole(pointer):
        return None
    try:
        return tokens_of(pointer)
    except JsonPointerException:
        return None


def operations_of(api: str, changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON Patch of a row, in the order of its columns.

    >>> operations_of("dps", {"status": "approved", "remove:/labels": True})
    [{'op': 'replace', 'path': '/status', 'value': 'approved'}, {'op': 'remove', 'path': '/labels'}]
    """
    found: list[dict[str, Any]] = []
    for key, value in changes.items():
        if key == PATCH:
            found += value
        elif (operation := operation_of(api, key, value)) is not None:
            found.append(operation)
    return found


def operation_of(api: str, key: str, value: Any) -> dict[str, Any] | None:
    """The operation of a column; None if the API has no such column, which is refused."""
    column = COLUMN.fullmatch(key)
    if column is None:
        path = NAMED[api].get(key)
        return None if path is None else {"op": "replace", "path": path, "value": value}
    prefix, path = column.groups()
    if prefix == "remove:":
        return {"op": "remove", "path": path}
    return {"op": "add" if prefix else "replace", "path": path, "value": value}


def pointer_of(place: Sequence[str]) -> str:
    """The JSON Pointer to a place."""
    return str(JsonPointer.from_parts(place).path)


def step_of(operation: Mapping[str, Any]) -> compare.PatchStep:
    """An operation of JSON Patch, as `kit` compares and applies it."""
    return compare.PatchStep(
        operation["op"],
        tokens_of(operation["path"]),
        operation.get("value"),
        tokens_of(operation.get("from", "")),
    )
