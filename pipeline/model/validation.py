"""Plain messages for pydantic's validation errors."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any, Final

from pydantic import AfterValidator, ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

_WORDS: Final = {
    "missing": "expected a value",
    "literal_error": "expected {expected}",
    "union_tag_invalid": "expected {discriminator} to be one of {expected_tags}",
    "union_tag_not_found": "expected a member {discriminator}",
    "string_type": "expected text",
    "string_unicode": "expected whole characters, not half of a surrogate pair",
    "int_type": "expected a whole number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "dict_type": "expected an object",
    "string_too_long": "expected at most {max_length} characters",
    "string_too_short": "expected at least {min_length} character",
    "too_long": "expected at most {max_length} items",
    "too_short": "expected at least {min_length} item",
    "greater_than_equal": "expected {ge} or more",
    "less_than_equal": "expected {le} or less",
}


def value_error(text: str) -> PydanticCustomError:
    """A validation error with this message."""
    return PydanticCustomError("value", text)


_LARGEST: Final = 2**63 - 1


def number(value: Any) -> int | float:
    """Validate a JSON number without converting it. Raises PydanticCustomError.

    >>> number(2), number(2.0)
    (2, 2.0)
    """
    if type(value) is int and abs(value) <= _LARGEST:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    raise value_error("expected a number of at most 64 bits")


def plain_errors(
    value: Any, inner: ValidatorFunctionWrapHandler, *, no_places: Collection[str] = ()
) -> Any:
    """Validate `value` with `inner`, and replace its messages by plain ones with the position.

    no_places  pydantic's steps to leave out of the position, such as the branch of a union

    Raises ValidationError.
    """
    try:
        return inner(value)
    except ValidationError as error:
        details = [_plain_detail(detail, no_places) for detail in error.errors(include_url=False)]
        raise ValidationError.from_exception_data("value", details) from None


def _plain_detail(detail: ErrorDetails, no_places: Collection[str]) -> InitErrorDetails:
    template = _WORDS.get(detail["type"])
    text = template.format_map(detail.get("ctx", {})) if template else detail["msg"]
    steps = tuple(step for step in detail["loc"] if step not in no_places)
    place = ", ".join(f"item {step + 1}" if isinstance(step, int) else step for step in steps)
    message = value_error(f"{text} ({place})" if place else text)
    return InitErrorDetails(type=message, loc=steps, input=detail["input"])


def matching(pattern: str, expected: str, flags: int = re.ASCII) -> AfterValidator:
    """A validator that refuses text in which `pattern` is not found. Include anchors in it."""
    found = re.compile(pattern, flags).search

    def check(text: str) -> str:
        if found(text) is None:
            raise value_error(f"expected {expected}")
        return text

    return AfterValidator(check)
