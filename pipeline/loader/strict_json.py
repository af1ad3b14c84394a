"""Reads JSON cells strictly, and converts Parquet lists and structs to JSON values. Pure."""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Any

from pipeline.loader.cell_error import CellError
from pipeline.loader.dates import read_timestamp

MAX_CHARS = 1_000_000
"""Limit on the JSON in one cell: more than any update needs."""

MAX_LEVELS = 32
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
_FLOAT_EXACT = 2**53  # from here on a float cannot hold every whole number
_DIGITS_MOST = 25  # beyond 64 bits; longer ones are not converted

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def read_json(text: str) -> Any:
    """Parse strict JSON: no duplicate keys, no NaN, no number beyond 64 bits, limited size.

    Raises CellError.

    >>> read_json('[{"sku": "elven_shield", "quantity": 2}]')
    [{'sku': 'elven_shield', 'quantity': 2}]
    """
    if len(text) > MAX_CHARS:
        raise CellError(f"JSON of more than {MAX_CHARS:,} characters")
    if text.count("[") + text.count("{") > MAX_LEVELS:
        _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=in_64_bits,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise CellError(
            "not JSON", f"strict JSON; {error.msg.lower()} at character {error.pos + 1}"
        ) from error
    if "\\" in text or not text.isprintable():
        _check_texts(value)
    return value


def json_value(value: Any, timezone: tzinfo | None = None) -> Any:
    """Convert a Parquet list or struct to a JSON value.

    A null member of a struct counts as not given, because a struct cannot leave out a member.

    timezone  of timestamps without an offset; None makes them errors

    Raises CellError.

    >>> json_value([{"sku": "elven_shield", "quantity": None}])
    [{'sku': 'elven_shield'}]
    """
    match value:
        case list():
            return [json_value(item, timezone) for item in value]
        case dict():
            given = ((key, item) for key, item in value.items() if item is not None)
            return {key: json_value(item, timezone) for key, item in given}
        case datetime():
            return read_timestamp(value, timezone)
    return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            if len(value) > MAX_CHARS:
                raise CellError(f"text of more than {MAX_CHARS:,} characters in a list or struct")
            _check_texts(value)
            return value
        case int():
            return in_64_bits(str(value))
        case float():
            return finite(value)
        case Decimal():
            return number_of(value)
    raise CellError(f"{kind_of(value)} inside a list or struct", "text, numbers, true, false")


def number_of(value: Decimal) -> int | float:
    """Convert a decimal to a JSON number, exactly.

    >>> number_of(Decimal("2.00")), number_of(Decimal("0.1"))
    (2, 0.1)
    """
    if not value.is_finite():
        raise CellError("not a finite number")
    if value == value.to_integral_value():
        return in_64_bits(format(value.to_integral_value(), "f"))
    number = float(value)
    if Decimal(repr(number)) != value:
        raise CellError("a decimal with more digits than a JSON number holds")
    return number


def finite(value: float) -> float:
    """The same number. Raises CellError if it is infinite or NaN.

    >>> finite(2.5)
    2.5
    """
    if not math.isfinite(value):
        raise CellError(
            "not a finite number", todo="If it is a placeholder for a missing value, use null"
        )
    return value


def whole(value: float) -> int:
    """Convert a float to a whole number. Raises CellError if it is not exactly one.

    >>> whole(10.0)
    10
    """
    if not finite(value).is_integer():
        raise CellError("not a whole number")
    if abs(value) >= _FLOAT_EXACT:
        raise CellError("a float too large to be exact", "a whole number of integer type")
    return int(value)


def in_64_bits(digits: str) -> int:
    """Parse an optional sign and digits. Raises CellError beyond 64 bits.

    >>> in_64_bits("-0012")
    -12
    """
    sign, rest = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
    rest = rest.lstrip("0") or "0"
    number = int(sign + rest) if len(rest) < _DIGITS_MOST else INTEGER_MAX + 1
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise CellError("a number beyond 64 bits")
    return number


def has_control(text: str) -> str | None:
    r"""The first forbidden control character, as U+XXXX; None if there is none.

    Tab and the two line ends are allowed.

    >>> has_control("a\x93b"), has_control("a\tb")
    ('U+0093', None)
    """
    found = _CONTROL.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def kind_of(value: Any) -> str:
    """The type of a Parquet value in plain words.

    >>> kind_of(1.5), kind_of(b"x")
    ('a floating-point number', 'a value of type bytes')
    """
    words = {
        bool: "a boolean",
        int: "a whole number",
        float: "a floating-point number",
        Decimal: "a decimal",
        datetime: "a timestamp",
        date: "a date without a time",
        list: "a list",
        dict: "a struct",
        str: "text",
    }
    return words.get(type(value), f"a value of type {type(value).__name__}")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise CellError("a number beyond 64 bits")
    return number


def _constant(name: str) -> Any:
    raise CellError("not JSON", f"strict JSON; {name} is not a JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CellError("JSON with the same key twice in one object")
    return found


def _check_depth(text: str) -> None:
    level = 0
    for char in re.sub(r"[^\[\]{}]", "", _STRING.sub("", text)):
        level += 1 if char in "[{" else -1
        if level > MAX_LEVELS:
            raise CellError(f"JSON nested deeper than {MAX_LEVELS} levels")


def _check_texts(value: Any) -> None:
    match value:
        case str():
            if found := has_control(value):
                raise CellError(f"a control character ({found})")
        case list():
            for item in value:
                _check_texts(item)
        case dict():
            for key, item in value.items():
                _check_texts(key)
                _check_texts(item)
