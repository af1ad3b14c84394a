"""Types and rules of the values in the two bodies."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    with_config,
)
from pydantic_core import InitErrorDetails
from typing_extensions import TypedDict

from pipeline.model.validation import matching, number, plain_errors, value_error
from pipeline.vendors.kit import compare
from pipeline.vendors.kit.json_values import EXPECTED, is_json

LARGEST = 2**63 - 1


# pydantic adds the chosen branch of a union, and `[key]`, which are no places for people
_NO_PLACES: Final = ("string", "date", "number", "daily", "weekly", "monthly", "[key]")


def plainly(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
    """Validate a part of a body; faults are in plain words, and its values are JSON."""
    found = plain_errors(value, inner, no_places=_NO_PLACES)
    if not is_json(found):  # what no source names has no other check
        raise value_error(EXPECTED)
    return found


# A bound of any kind makes pydantic refuse half surrogate pairs, which no UTF-8 can hold.
Text = Annotated[str, Field(min_length=0)]
Whole = Annotated[int, Field(ge=-LARGEST - 1, le=LARGEST)]
Number = Annotated[int | float, PlainValidator(number)]

DIGITS = re.compile(r"[+-]?[0-9]{1,19}")


def id_number(value: Any) -> int:
    """An id that is a number at the vendor: `007` and `7` name the same thing."""
    if isinstance(value, str) and DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is int and -LARGEST <= value <= LARGEST:
        return value
    raise value_error("expected a whole number of at most 64 bits, as in 111425")


@lru_cache(maxsize=4096)  # the dates of a file repeat
def date_text(text: str | None) -> str | None:
    """RFC 3339 with the offset that was given; None stays None.

    >>> date_text("2020-04-15 18:16:00+0500")
    '2020-04-15T18:16:00+05:00'
    """
    try:
        return None if text is None else compare.date_time(text)
    except ValueError as error:
        raise value_error(f"expected {error}") from None


# ----------------------------------------------------------------- parts of the two bodies

_LOCALE = re.compile(r"[a-z]{2}-[A-Z]{2}")


def _locales(name: dict[str, str]) -> dict[str, str]:
    # The pattern is in the description of BONUS and COUPON ("must be made of pairs whose key
    # is a locale of the form"), not in their schema; it refuses, because both say so.
    others = [key for key in name if not _LOCALE.fullmatch(key)]
    if others:
        fault = value_error("expected a locale, as en-US or de-DE")
        details = [InitErrorDetails(type=fault, loc=(key,), input=key) for key in others]
        raise ValidationError.from_exception_data("name", details)
    return name


Name = Annotated[dict[Text, Text], AfterValidator(_locales), WrapValidator(plainly)]


# No source forbids members that it does not name: they are sent as given, see `_undocumented`
_open = with_config(ConfigDict(extra="allow", strict=True))


@_open
class Item(TypedDict, total=False):
    """An item that must be in the cart (BONUS condition); no source marks `sku` as required."""

    sku: Text


@_open
class Reward(TypedDict, total=False):
    """A reward (BONUS, COUPON bonus); `quantity` is 1 if it is left out."""

    sku: Text
    quantity: Number


# BONUS, COUPON: `^[-_.\d\w]+$`. Meant for JavaScript, whose `\w` is ASCII (inferred): letters of
# other alphabets only warn, see `_doubts`.
Attribute = Annotated[
    str,
    Field(min_length=1, max_length=255),
    matching(r"\A[-_.\w]+\Z", "letters, digits, dots, dashes or underscores", re.UNICODE),
]
ConditionValue = Annotated[str, Field(max_length=255)]  # SPEC: text, also for dates and numbers


class _Condition(TypedDict):
    attribute: Attribute
    value: ConditionValue
    can_be_missing: NotRequired[bool]


@_open
class StringCondition(_Condition):
    """BONUS."""

    operator: Literal["eq", "ne"]
    type: Literal["string"]


@_open
class DateCondition(_Condition):
    """SPEC: er earlier, lt LATER, ee earlier or equal, le LATER or equal."""

    operator: Literal["eq", "ne", "er", "lt", "ee", "le"]
    type: Literal["date"]


@_open
class NumberCondition(_Condition):
    """SPEC reuses the operators of dates, FILTER has greater and less: both are let through."""

    operator: Literal["eq", "ne", "er", "lt", "ee", "le", "gt", "ge"]
    type: Literal["number"]


def _kind_of_conditions(value: Any) -> str | None:
    """The type that the first condition names: all of a list have one."""
    first = value[0] if isinstance(value, list) and value else None
    kind = first.get("type") if isinstance(first, dict) else None
    return kind if isinstance(kind, str) else None


_HUNDRED: Final = Field(min_length=1, max_length=100)
AttributeConditions = Annotated[  # BONUS, SPEC: one of three lists, each of one kind
    Annotated[list[StringCondition], _HUNDRED, Tag("string")]
    | Annotated[list[DateCondition], _HUNDRED, Tag("date")]
    | Annotated[list[NumberCondition], _HUNDRED, Tag("number")],
    Discriminator(
        _kind_of_conditions,
        custom_error_type="conditions",
        custom_error_message=(
            "expected 1 to 100 conditions, all of one type: string, date or number"
        ),
    ),
    WrapValidator(plainly),
]

_TIME = r"((0[0-9]|1[0-9]|2[0-3]):00:00)(\+|-)(0[0-9]|1[0-9]|2[0-3]):([0-5][0-9])"
WHOLE_TIME = re.compile(_TIME, re.ASCII)
# SPEC; without anchors, so that text around a match only warns, see `_doubts`
Time = Annotated[Text, matching(_TIME, "a full hour with its offset, as in 11:00:00+03:00")]


@_open
class Daily(TypedDict):
    """BONUS."""

    interval_type: Literal["daily"]
    time: Time


@_open
class Weekly(TypedDict):
    """SPEC; 1 is Monday."""

    interval_type: Literal["weekly"]
    time: Time
    day_of_week: Annotated[int, Field(ge=1, le=7)]


@_open
class Monthly(TypedDict):
    """SPEC; in shorter months the last day."""

    interval_type: Literal["monthly"]
    time: Time
    day_of_month: Annotated[int, Field(ge=1, le=31)]


@_open
class Schedule(TypedDict, total=False):
    """BONUS shows `daily`, SPEC has all three."""

    per_user: Annotated[Daily | Weekly | Monthly, Field(discriminator="interval_type")]


@_open
class Limits(TypedDict, total=False):
    """BONUS."""

    per_user: Whole | None
    recurrent_schedule: Schedule | None


@_open
class PriceCondition(TypedDict):
    """BONUS; here lt and le mean less."""

    operator: Literal["ge", "gt", "le", "lt", "eq", "ne"]
    value: Annotated[
        str,
        matching(r"\A\d+(\.\d{1,4})?\Z", 'a price in quotes, as in "9.99", 4 decimals at most'),
    ]


MEMBERS: Final[Mapping[str, Collection[str]]] = {
    "condition": Item.__annotations__,
    "bonus": Reward.__annotations__,
    "attribute_conditions": StringCondition.__annotations__,
    "limits": Limits.__annotations__,
    "price_conditions": PriceCondition.__annotations__,
}
