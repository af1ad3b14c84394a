"""Types and rules of a row's values: ids of BRM, statuses, dates, notes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from pipeline.model.validation import value_error
from pipeline.vendors.kit.json_values import is_json


def validation_error(
    title: str, found: Mapping[str, str], values: Mapping[str, Any] | None = None
) -> ValidationError:
    """Complaints by place.

    values  what they are about; None shows nothing of it, for it could be a secret
    """
    details = [
        InitErrorDetails(
            type=value_error(text),
            loc=(place,),
            input=None if values is None else values.get(place, values),
        )
        for place, text in found.items()
    ]
    return ValidationError.from_exception_data(title, details)


# ----------------------------------------------------------------------------- ids of offers


class ObjectId(NamedTuple):
    """An id of BRM, called POID there.

    database  as in 0.0.0.1
    type      as in -purchased_product
    number    digits, without zeros in front
    """

    database: str
    type: str
    number: str

    @property
    def text(self) -> str:
        """As REST writes it; no source shows a revision there."""
        return f"{self.database}+{self.type}+{self.number}"


# OFFERS, DETAIL, STATUS: database, type with / as -, number. That the parts match `USUAL` is
# inferred.
_REST = re.compile(r"([0-9]+(?:\.[0-9]+)*)\+(-[^\s+/]+)\+([0-9]+)")
USUAL = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+\+-[A-Za-z0-9_-]+\+[0-9]+")
# inferred: so BRM's own tools print an id, database, type, number, revision
_PRINTED = re.compile(r"([0-9]+(?:\.[0-9]+)*) +/([^\s+]+) +([0-9]+)(?: +[0-9]+)?")


def object_id(text: str) -> ObjectId:
    """The id that `text` writes, in the form of REST or as BRM prints it; ValueError without one.

    >>> object_id("0.0.0.1 /purchased_product 209130 12")
    ObjectId(database='0.0.0.1', type='-purchased_product', number='209130')
    """
    if found := _REST.fullmatch(text):
        database, kind, number = found.groups()
    elif found := _PRINTED.fullmatch(text):
        database, kind, number = found[1], "-" + found[2].replace("/", "-"), found[3]
    else:
        raise value_error(
            "expected an id of BRM, parted by plus signs, as in 0.0.0.1+-purchased_product+209130"
        )
    return ObjectId(database, kind, number.lstrip("0") or "0")


def checked_id(text: str) -> str:
    """`text`, if it is an id of BRM."""
    object_id(text)
    return text


# ----------------------------------------------------------------------- what a value must be

Status = Literal["active", "inactive", "canceled"]
Kind = Literal["charge", "discount"]

CODES: Final[Mapping[str, int]] = {"active": 1, "inactive": 2, "canceled": 3}  # OFFERS
_STATUSES: Final[Mapping[str, str]] = {
    **{name: name for name in CODES},
    **{str(code): name for name, code in CODES.items()},
    "cancelled": "canceled",  # as the British write it
}
_WHY_NO_STATUS: Final[Mapping[str, str]] = {
    # OFFERS lists 0 among the values; no source says what a request for it does
    "0": "0 means not set, which is no status to ask for",
    "suspended": "the status of a suspended offer is inactive",  # OFFERS has no other
    # STATUS
    **dict.fromkeys(("10100", "10102", "10103"), "this is a status of accounts and services"),
}


def status_name(value: Any) -> Any:
    """The name of a status, from its name in any case or its number.

    >>> status_name("Cancelled"), status_name("2"), status_name("2.0")
    ('canceled', 'inactive', 'inactive')
    """
    if type(value) not in (str, int):
        raise value_error("expected text")
    word = str(value).lower()
    word = re.sub(r"\A([0-9]+)\.0+\Z", r"\1", word)  # pandas writes a column with gaps so
    if word not in _STATUSES:
        why = f"; {_WHY_NO_STATUS[word]}" if word in _WHY_NO_STATUS else ""
        raise value_error(f"expected active, inactive or canceled, or 1, 2 or 3{why}")
    return _STATUSES[word]


def kind_name(value: Any) -> Any:
    """Charge or discount, from it in any case."""
    word = value.lower() if isinstance(value, str) else value
    if word not in ("charge", "discount"):
        raise value_error("expected charge or discount")
    return word


_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


@lru_cache(maxsize=4096)  # the dates of a file repeat
def is_date(text: str) -> bool:
    """True if `text` is a moment in the format of RFC 3339.

    >>> is_date("2027-06-01T00:00:00+02:00"), is_date("2027-06-31T00:00:00+02:00")
    (True, False)
    """
    try:
        return bool(_RFC3339.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def checked_date(text: str) -> str:
    """`text`, if it is a moment in the format of RFC 3339."""
    if not is_date(text):
        raise value_error("expected a date, a time and an offset, as in 2027-06-01T00:00:00+02:00")
    return text


def json_safe(value: dict[str, Any]) -> dict[str, Any]:
    """`value`, if it is the same after it is written as JSON and read again."""
    if not is_json(value):
        raise value_error("expected an object of JSON values")
    return value


_INT32: Final = 2**31


def _is_int32(value: Any) -> bool:
    return type(value) is int and -_INT32 <= value < _INT32


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _is_moment(value: Any) -> bool:
    # OFFERS says date-time, the samples of NOTES have milliseconds since 1970: `warn` tells
    return _is_text(value) or type(value) is int


Member = tuple[Callable[[Any], bool], str]

_TEXT: Final[Member] = (_is_text, "text")
_WHOLE: Final[Member] = (_is_int32, "a whole number of 32 bits")
_MOMENT: Final[Member] = (_is_moment, "a date and time")

# OFFERS, NOTES. The end of the list is in no source, so that other members pass as they are; so
# do status, type and subType, which occur in sample responses only.
_NOTE: Final[Mapping[str, Member]] = {
    "amount": (_is_number, "a number"),
    "billId": _TEXT,
    "billUnitId": _TEXT,
    "closedDate": _MOMENT,
    "comments": (_is_list_of_objects, "a list of objects"),
    "count": _WHOLE,
    "domainId": _WHOLE,
    "effectiveDate": _MOMENT,
    "eventId": _TEXT,
    "extension": (_is_object, "an object"),
    "header": _TEXT,
    "id": _TEXT,
    "itemId": _TEXT,
    "reasonId": _WHOLE,
    "serviceId": _TEXT,
}


def checked_notes(value: dict[str, Any]) -> dict[str, Any]:
    """`value`, if it is a note that Billing Care documents."""
    found = dict(_note_faults(json_safe(value)))
    if found:
        raise validation_error("notes", found, value)
    return value


def _note_faults(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    account = value.get("accountId")
    if not isinstance(account, str) or not account.strip():
        yield "accountId", "expected the account's id as text (accountId): notes need it"
    for name, (is_right, expected) in _NOTE.items():
        # null: no source says that a member may be, none that it may not
        if value.get(name) is not None and not is_right(value[name]):
            yield name, f"expected {expected} ({name})"
