"""Xsolla: bonus promotions and coupons of the store, version 2 of the API.

Both updates are a full replace ("if you want to update only a part, all the required data must be
sent too"), one request per row, answered 204 without a body.

The sources of the facts below; all were read on 2026-11-22.

    BONUS   developers.xsolla.com, "Update bonus promotion", Chinese page, undated
    COUPON  developers.xsolla.com, "Update coupon promotion", French page, undated
    SPEC    "Shop Builder API" 2.0.0, OpenAPI, of 2025-05-22, as kept on GitHub in
            defold/extension-xsolla @62256f83, codegen/openapi.json
    START   developers.xsolla.com/api/getting-started, undated
    ERRORS  developers.xsolla.com/doc/in-game-store/references/error-list, undated
    V3      developers.xsolla.com/api/liveops, later pages about version 3, undated
    FILTER  developers.xsolla.com/ru/api/igs-bb/operation/update-filter-rule-by-id, older, undated

What BONUS, COUPON or SPEC state refuses a row. What is only inferred, or where they contradict one
another, only warns: a client stricter than its vendor blocks good rows. Not in any source: numeric
rate limits, what an omitted redeem limit means, whether version 2 has an end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NotRequired, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    SecretStr,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
    with_config,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, to_json
from typing_extensions import TypedDict

from pipeline.model import (
    Answer,
    Cell,
    CellKind,
    Effect,
    EntityKey,
    NoReply,
    Reply,
    Request,
    UpdateJob,
    Verdict,
)
from pipeline.model.validation import matching, number, plain_errors, value_error
from pipeline.vendors.kit import compare
from pipeline.vendors.kit.classify import (
    HINT_IN_DOUBT,
    NOT_CONFIRMED,
    by_status,
    classify,
    error_status,
    json_object,
    plain,
)
from pipeline.vendors.kit.contract import (
    MISSING,
    Basic,
    Change,
    Defaults,
    Difference,
    EntityPage,
    EntityRead,
    KnownReply,
    Listing,
    Missing,
    Operation,
    Probe,
    Probed,
    RequestHead,
    State,
    Vendor,
    VendorSettings,
)
from pipeline.vendors.kit.json_values import EXPECTED, is_json

# ------------------------------------------------------------------------------------- settings


class XsollaSettings(VendorSettings):
    """Settings of an account at Xsolla.

    Other `projects` need `merchant_id`, because an API key that goes with a project's own number
    opens that project only.
    """

    base_url: str = Field(
        default="https://store.xsolla.com/api",  # SPEC servers
        description="Address of the API.",
    )
    project_id: int = Field(gt=0, description="The project to update; user name of HTTP Basic.")
    projects: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(), description="Others that a column project_id may name; needs merchant_id."
    )
    api_key: SecretStr = Field(min_length=1, description="The password of HTTP Basic.")
    merchant_id: int | None = Field(default=None, gt=0, description="The user name instead.")

    @model_validator(mode="after")
    def _projects_need_merchant_id(self) -> Self:
        if self.merchant_id is None and set(self.projects) - {self.project_id}:
            raise PydanticCustomError(
                "merchant_id",
                "projects other than project_id need merchant_id: the user name is the project's "
                "own number otherwise, and that opens no other project",
            )
        return self


def _authenticate(s: XsollaSettings) -> Basic:
    """SPEC securitySchemes.basicAuth: user `project_id` or `merchant_id`, password the API key."""
    return Basic(str(s.project_id if s.merchant_id is None else s.merchant_id), s.api_key)


# ----------------------------------------------------------------------- what a value must be

_LARGEST = 2**63 - 1


# pydantic adds the chosen branch of a union, and `[key]`, which are no places for people
_NO_PLACES: Final = ("string", "date", "number", "daily", "weekly", "monthly", "[key]")


def _plainly(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
    found = plain_errors(value, inner, no_places=_NO_PLACES)
    if not is_json(found):  # what no source names has no other check
        raise value_error(EXPECTED)
    return found


# A bound of any kind makes pydantic refuse half surrogate pairs, which no UTF-8 can hold.
Text = Annotated[str, Field(min_length=0)]
Whole = Annotated[int, Field(ge=-_LARGEST - 1, le=_LARGEST)]
Number = Annotated[int | float, PlainValidator(number)]

_DIGITS = re.compile(r"[+-]?[0-9]{1,19}")


def _id_number(value: Any) -> int:
    """An id that is a number at the vendor: `007` and `7` name the same thing."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is int and -_LARGEST <= value <= _LARGEST:
        return value
    raise value_error("expected a whole number of at most 64 bits, as in 111425")


@lru_cache(maxsize=4096)  # the dates of a file repeat
def _date(text: str | None) -> str | None:
    """RFC 3339 with the offset that was given; None stays None.

    >>> _date("2020-04-15 18:16:00+0500")
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


Name = Annotated[dict[Text, Text], AfterValidator(_locales), WrapValidator(_plainly)]


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
    WrapValidator(_plainly),
]

_TIME = r"((0[0-9]|1[0-9]|2[0-3]):00:00)(\+|-)(0[0-9]|1[0-9]|2[0-3]):([0-5][0-9])"
_WHOLE_TIME = re.compile(_TIME, re.ASCII)
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


# ------------------------------------------------------------------------- short forms of cells


def _parts(text: str) -> Iterator[str]:
    for part in text.split(","):
        if not part.strip():
            raise ValueError("something between and after all commas")
        yield part.strip()


def _short_bonus(text: str) -> list[dict[str, Any]]:
    """Rewards from `elven_shield:2, elven_sword`.

    >>> _short_bonus("elven_shield:2, elven_sword")
    [{'sku': 'elven_shield', 'quantity': 2}, {'sku': 'elven_sword', 'quantity': 1}]
    """
    return [_short_reward(part) for part in _parts(text)]


def _short_reward(part: str) -> dict[str, Any]:
    sku, colon, quantity = (piece.strip() for piece in part.rpartition(":"))
    if not colon:
        return {"sku": part, "quantity": 1}
    if not sku or not re.fullmatch(r"[0-9]{1,18}", quantity):
        raise ValueError(
            "an SKU, or an SKU, a colon and a quantity, as in "
            "elven_shield:2; an SKU with a colon in it needs the form "
            '[{"sku": "a:b", "quantity": 1}]'
        )
    return {"sku": sku, "quantity": int(quantity)}


def _short_condition(text: str) -> list[dict[str, Any]]:
    """Items from `elven_sword, other`.

    >>> _short_condition("elven_sword, other")
    [{'sku': 'elven_sword'}, {'sku': 'other'}]
    """
    items = [{"sku": part} for part in _parts(text)]
    if ":" in text:
        raise ValueError(
            "SKUs parted by commas, without quantities; an SKU with a colon in it needs "
            'the form [{"sku": "a:b"}]'
        )
    return items


def _short_price_conditions(text: str) -> list[dict[str, Any]]:
    """Price conditions from `ge 10, lt 50`.

    >>> _short_price_conditions("ge 10, lt 49.99")
    [{'operator': 'ge', 'value': '10'}, {'operator': 'lt', 'value': '49.99'}]
    """
    found = [part.split() for part in _parts(text)]
    if any(len(words) != 2 for words in found):  # noqa: PLR2004 - operator and price
        raise ValueError("an operator and a price each, as in ge 10, lt 49.99")
    return [{"operator": operator, "value": value} for operator, value in found]


def _short_ids(text: str) -> list[int]:
    """Ids from `12, 789`.

    >>> _short_ids("12, 789")
    [12, 789]
    """
    parts = list(_parts(text))
    if not all(_DIGITS.fullmatch(part) for part in parts):
        raise ValueError("ids of digits, parted by commas, as in 12, 789")
    return [int(part) for part in parts]


# ----------------------------------------------------------------------------------- the jobs

ABSENT: Any = None
"""The value of a field that a row leaves out; `model_fields_set` distinguishes it from null."""

ProjectId = Annotated[
    int,
    BeforeValidator(_id_number),
    Cell(
        CellKind.ID,
        help="The project, if it is not the account's own; one of its `projects`.",
        example="44056",
    ),
]
_IN_ONE_LANGUAGE = Cell(
    CellKind.TEXT, help="The name in this language.", example="Bonus", is_opaque=True
)
NameField = Annotated[
    Name,
    Cell(
        CellKind.MAP,
        help="The name shown to players, by locale; a column per locale, such as name.en-US.",
        example='{"en-US": "Summer bonus", "de-DE": "Sommerbonus"}',
        members=(("*", _IN_ONE_LANGUAGE),),
    ),
]
BonusField = Annotated[
    Annotated[list[Reward] | None, WrapValidator(_plainly)],
    Cell(
        CellKind.LIST,
        help="What the player gets: SKU:quantity, parted by commas; quantity 1 may be left out.",
        example="elven_shield:2, elven_sword",
        short=_short_bonus,
    ),
]
DateStart = Annotated[
    str | None,
    AfterValidator(_date),
    Cell(
        CellKind.DATE, help="When it begins.", example="2027-06-01T00:00:00+02:00", is_opaque=True
    ),
]
DateEnd = Annotated[
    str | None,
    AfterValidator(_date),
    Cell(
        CellKind.DATE,
        help="When it ends; null: never.",
        example="2027-09-01T00:00:00+02:00",
        is_opaque=True,
    ),
]
AttributeConditionsField = Annotated[
    AttributeConditions,
    Cell(
        CellKind.LIST,
        help=(
            "Which players, by their attributes: 1 to 100 conditions, all of one type. Operators: "
            "eq ne; for dates also er (earlier), ee (earlier or equal), lt (LATER), le (LATER or "
            "equal)."
        ),
        example='[{"attribute": "country", "operator": "eq", "value": "DE", "type": "string"}]',
    ),
]


def _redeem_limit(help_: str) -> Cell:
    return Cell(CellKind.INTEGER, help=help_, example="10", is_opaque=True)


class BonusPromotion(UpdateJob):
    """A promotion that gives items with a purchase. Required, and what may be null: BONUS.

    The body's `id` is never sent: the path has it.
    """

    promotion_id: Annotated[
        int,
        BeforeValidator(_id_number),
        Cell(CellKind.ID, help="The promotion to update.", example="111425", is_opaque=True),
    ]
    project_id: ProjectId = ABSENT
    name: NameField
    condition: Annotated[
        Annotated[list[Item] | None, WrapValidator(_plainly)],
        Cell(
            CellKind.LIST,
            help="SKUs that must be bought; null: any purchase in the project.",
            example="elven_sword, other",
            short=_short_condition,
        ),
    ]
    bonus: BonusField
    date_start: DateStart = ABSENT
    date_end: DateEnd = ABSENT
    attribute_conditions: AttributeConditionsField = ABSENT
    limits: Annotated[
        Annotated[Limits, WrapValidator(_plainly)],
        Cell(
            CellKind.OBJECT,
            help="How often one player may use it, and when that count starts anew.",
            example='{"per_user": 5}',
            members=(
                (
                    "per_user",
                    Cell(
                        CellKind.INTEGER,
                        help="Times per player; null: no limit.",
                        example="5",
                        is_opaque=True,
                    ),
                ),
                (
                    "recurrent_schedule",
                    Cell(
                        CellKind.OBJECT,
                        help=(
                            "When the count starts anew: daily, weekly with day_of_week 1 (Monday) "
                            "to 7, monthly with day_of_month 1 to 31; at a full hour; null: never."
                        ),
                        example=(
                            '{"per_user": {"interval_type": "weekly", "time": "11:00:00+03:00", '
                            '"day_of_week": 1}}'
                        ),
                    ),
                ),
            ),
        ),
    ] = ABSENT
    price_conditions: Annotated[
        Annotated[list[PriceCondition] | None, WrapValidator(_plainly)],
        Cell(
            CellKind.LIST,
            help=(
                "The price of the items bought, every condition must hold: ge gt le lt eq ne and a "
                "price. Goes with condition null."
            ),
            example="ge 10, lt 49.99",
            short=_short_price_conditions,
        ),
    ] = ABSENT
    excluded_promotions: Annotated[
        Annotated[list[Whole], WrapValidator(_plainly)],
        Cell(
            CellKind.LIST,
            help="Ids of promotions that do not apply together with this one.",
            example="12, 789",
            short=_short_ids,
        ),
    ] = ABSENT


def _external_id(text: str) -> str:
    # `.` and `..` as a path segment mean another address to every URL parser (RFC 3986, 5.2.4)
    if text in ("", ".", ".."):
        raise value_error("expected the id of a coupon, for example coupon_44056_1")
    return text


class Coupon(UpdateJob):
    """A coupon that gives items. Required, and what may be null: COUPON.

    `external_id` is an integer by COUPON and SPEC, whose example is the text `coupon_44056_1`: it
    is text. `attribute_conditions` is in SPEC only.
    """

    external_id: Annotated[
        Text,
        AfterValidator(_external_id),
        Cell(CellKind.ID, help="The coupon to update.", example="coupon_44056_1", is_opaque=True),
    ]
    project_id: ProjectId = ABSENT
    name: NameField
    bonus: BonusField = ABSENT
    date_start: DateStart = ABSENT
    date_end: DateEnd = ABSENT
    redeem_total_limit: Annotated[
        Whole | None, _redeem_limit("How many coupons may be redeemed in all, or null.")
    ] = ABSENT
    redeem_user_limit: Annotated[
        Whole | None, _redeem_limit("How many coupons one player may redeem, or null.")
    ] = ABSENT
    redeem_code_limit: Annotated[
        Whole | None, _redeem_limit("How often one code may be redeemed, or null.")
    ] = ABSENT
    attribute_conditions: AttributeConditionsField = ABSENT


# ------------------------------------------------------------------------ doubts, never a refusal

_SHOWN_NAMES_CHARS = 100
_INTERVALS: Final[Mapping[Any, Collection[str]]] = {
    "daily": Daily.__annotations__,
    "weekly": Weekly.__annotations__,
    "monthly": Monthly.__annotations__,
}
_MEMBERS: Final[Mapping[str, Collection[str]]] = {
    "condition": Item.__annotations__,
    "bonus": Reward.__annotations__,
    "attribute_conditions": StringCondition.__annotations__,
    "limits": Limits.__annotations__,
    "price_conditions": PriceCondition.__annotations__,
}


def _warn(job: UpdateJob) -> tuple[str, ...]:
    return tuple(_doubts(job.__dict__))


def _doubts(given: Mapping[str, Any]) -> Iterator[str]:
    # a field that the row leaves out is None here, which raises no doubt
    if given.get("promotion_id", 1) <= 0:
        yield "promotion_id: ids are positive"
    if given.get("price_conditions") and given.get("condition"):
        # BONUS: "set the value of the condition object to null"; SPEC's own sample sends both
        yield "price_conditions: Xsolla says to set condition to null with them"
    yield from _doubts_about_items(given)
    if given.get("attribute_conditions"):
        yield from _doubts_about_attributes(given["attribute_conditions"])
    yield from _doubts_about_time(given)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", given.get("external_id", "1")):
        yield "external_id: version 3 allows Latin letters, digits, . - and _ only"
    if given["name"] == {}:
        # BONUS and COUPON speak of pairs, and no schema says how many
        yield "name: no text in any language"
    yield from _undocumented(given)


def _undocumented(given: Mapping[str, Any]) -> Iterator[str]:
    for field, known in _MEMBERS.items():
        value = given.get(field) or []
        yield from _others(field, known, [value] if isinstance(value, dict) else value)
    schedule = (given.get("limits") or {}).get("recurrent_schedule") or {}
    yield from _others("limits.recurrent_schedule", Schedule.__annotations__, (schedule,))
    every = schedule.get("per_user") or {}
    known = _INTERVALS.get(every.get("interval_type"), {})
    yield from _others("limits.recurrent_schedule.per_user", known, (every,))


def _others(
    where: str, known: Collection[str], items: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    others = {name for item in items for name in item if name not in known}
    if others:
        names = plain(", ".join(sorted(others)), _SHOWN_NAMES_CHARS)
        yield f"{where}: Xsolla documents no member {names}; it is sent as given"


def _doubts_about_items(given: Mapping[str, Any]) -> Iterator[str]:
    for field in ("condition", "bonus"):
        if any("sku" not in item for item in given.get(field) or ()):
            yield f"{field}: an item without sku"
    if any(reward.get("quantity", 1) <= 0 for reward in given.get("bonus") or ()):
        yield "bonus: a quantity of 0 or less"


def _doubts_about_attributes(conditions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if any(not condition["attribute"].isascii() for condition in conditions):
        yield "attribute_conditions: an attribute with letters other than A to Z"
    unsure = {c["operator"] for c in conditions if c["type"] == "number"} - {"eq", "ne"}
    if unsure:
        # SPEC reads lt as later and le as later or equal, FILTER as less and less or equal
        yield (
            f"attribute_conditions: what {', '.join(sorted(unsure))} means for numbers is "
            "documented in two ways; check the promotion at Xsolla"
        )


def _doubts_about_time(given: Mapping[str, Any]) -> Iterator[str]:
    start, end = given.get("date_start"), given.get("date_end")
    if start and end:
        # the sample of COUPON has one moment twice, and no source requires an order
        begins, ends = map(datetime.fromisoformat, (start, end))
        if ends < begins:
            yield "date_end: before date_start"
        elif ends == begins:
            yield "date_end: the same moment as date_start"
    schedule = (given.get("limits") or {}).get("recurrent_schedule") or {}
    time = schedule.get("per_user", {}).get("time")
    if time is not None and not _WHOLE_TIME.fullmatch(time):
        yield "limits.recurrent_schedule: time holds more than an hour and its offset"


# ---------------------------------------------------------------------------- jobs to requests

Job = BonusPromotion | Coupon
_READ_HEADERS: Final = MappingProxyType({"Accept": "application/json"})  # SPEC, START
_HEADERS: Final = MappingProxyType({"Content-Type": "application/json", **_READ_HEADERS})
_ADDRESS: Final = ("promotion_id", "external_id", "project_id")
_BODY: Final[Mapping[type[UpdateJob], tuple[str, ...]]] = {
    job_type: tuple(name for name in job_type.model_fields if name not in _ADDRESS)
    for job_type in (BonusPromotion, Coupon)
}


def _encode(s: XsollaSettings, batch: Sequence[Job]) -> Request:
    (job,) = batch
    values, given = job.__dict__, job.model_fields_set
    body = to_json({name: values[name] for name in _BODY[type(job)] if name in given})
    return Request("PUT", _path(s, job), body, _HEADERS)


def _path(s: XsollaSettings, job: Job) -> str:
    project = f"/v2/project/{_project(s, job)}/admin"
    if isinstance(job, Coupon):
        return f"{project}/coupon/{quote(job.external_id, safe='')}"
    return f"{project}/promotion/{job.promotion_id}/bonus"


def _project(s: XsollaSettings, job: Job) -> int:
    return job.project_id if "project_id" in job.model_fields_set else s.project_id


def _refuse(s: XsollaSettings, job: Job) -> str | None:
    project = _project(s, job)
    if project == s.project_id or project in s.projects:
        return None
    allowed = ", ".join(map(str, (s.project_id, *s.projects)))
    return (
        f"project_id {project} is none of this account's projects ({allowed}); "
        "add it to `projects` of the account, or choose another account"
    )


def _entity(s: XsollaSettings, job: Job) -> EntityKey:
    project = str(_project(s, job))
    if isinstance(job, Coupon):
        return EntityKey("xsolla", s.origin, project, "coupon", job.external_id)
    return EntityKey("xsolla", s.origin, project, "promotion", str(job.promotion_id))


# -------------------------------------------------------------------------- replies to answers

_UPDATED: Final = (Answer(Verdict.OK, Effect.APPLIED, 204),)
_NO_CONTENT: Final = 204
_NOT_FOUND: Final = 404
_UNPROCESSABLE: Final = 422
_SERVER_ERROR: Final = 500
_BRACKET = re.compile(r"\s*\[([0-9]{4})-([0-9]{1,6})\]:?\s*")
_BRACKETS = re.compile(rf"\A(?:{_BRACKET.pattern})+")  # some messages repeat it
_SHOWN_MESSAGE_CHARS = 500

# ERRORS: 1101 service unavailable or timed out, 1103 error of a third-party service.
# SPEC: 9502 the promotion service could not be read, 9505 the update failed inside it; that these
# may pass is inferred. With any other code besides them the update is refused, and with a 404
# whatever the codes: an entity that is missing now is missing later.
_PASSING: Final = (1101, 1103)
_PASSING_422: Final = (9502, 9505)
_OUTAGES: Final = (1101, 1103, 9505)  # their hints are about outages only
_MISCONFIGURED: Final = frozenset({1803})  # SPEC: wrong content type, the same for every row

_HINTS: Final[Mapping[int, str]] = {
    1016: "the request was not read as UTF-8: send the row to Xsolla's support with its request id",
    1020: "check api_key, and that it belongs to project_id (or to merchant_id, if that is set)",
    1101: "Xsolla's service was not available: send the row again later",
    1102: "correct the row: Xsolla names the field in its message",
    1103: "a service behind Xsolla failed: send the row again later",
    1501: "this API key may not change this project: check its rights in the Publisher Account",
    1803: "check base_url and the account's headers: Xsolla did not see JSON",
    4511: "correct the limits of the row: one is out of the allowed range",
    5008: "check the user that the message names",
    9502: "check promotion_id and project_id; if both are right, send the row again later",
    9505: "Xsolla's promotion service failed: send the row again later",
    9802: "check external_id and project_id: this project has no such coupon",
    9803: "this code exists already: choose another",
    9804: "the limits allow no more redemptions: check the redeem limits of the row",
}
_HINTS_BY_STATUS: Final[Mapping[int, str]] = {
    401: _HINTS[1020],
    403: _HINTS[1501],
    404: "check the id and project_id: this project has no such promotion or coupon",
    422: _HINTS[1102],
}
_HARMLESS = "it may have been applied; sending the row again is harmless: it replaces the whole"


def _refusal(reply: Reply) -> int | None:
    """The status of an error body (seeds, SPEC) in a 2xx; a code of errors alone refuses the row.

    A code that may mean an outage refuses nothing: the update is in doubt. With a 404 no code means
    an outage, see `_PASSING`.

    >>> _refusal(Reply(200, {}, b'{"statusCode": 422, "errorCode": 1102, "errorMessage": "no"}'))
    422
    """
    body = {} if reply.is_cut else json_object(reply.body)
    codes, status = _codes(body), error_status(body)
    if status != _NOT_FOUND and not {*_PASSING, *_PASSING_422}.isdisjoint(codes):
        return _SERVER_ERROR
    return status or (_UNPROCESSABLE if codes else None)


_CONFIRMATION: Final = by_status(_NO_CONTENT, _refusal, source="BONUS, COUPON, SPEC")


def _known(status: int, code: int, source: str) -> KnownReply:
    body = {"statusCode": status, "errorCode": code, "errorMessage": "No"} if code else None
    words = f"{status} with code {code}" if code else str(status)
    return KnownReply(words, Reply(status, {}, to_json(body) if body else b""), source)


_KNOWN: Final = (
    *(_known(status, 0, "BONUS, COUPON, SPEC") for status in (401, 422)),
    _known(404, 0, "COUPON, SPEC; of promotions for reads alone, for updates assumed"),
    _known(401, 1020, "BONUS, COUPON"),
    *(_known(*each, "SPEC") for each in ((401, 1501), (404, 9502), (404, 9802))),
    *(_known(404, code, "assumed: what is not there is not there later") for code in _OUTAGES),
    *(_known(422, code, "SPEC") for code in (1102, 4511, 9803, 9804)),
    _known(422, 1803, "SPEC; that all rows meet it is assumed"),
    *(_known(422, code, "ERRORS") for code in _PASSING),
    *(_known(422, code, "SPEC; that it may pass is assumed") for code in _PASSING_422),
)


def _decode(
    _s: XsollaSettings, batch: Sequence[UpdateJob], reply: Reply | NoReply
) -> tuple[Answer, ...]:
    if reply[0] == _NO_CONTENT:
        return _UPDATED * len(batch)
    answer = classify(reply, _CONFIRMATION)
    if isinstance(reply, Reply) and answer.code != NOT_CONFIRMED:
        within = _refusal(reply) if reply.status // 100 == 2 else None  # noqa: PLR2004 - a success
        answer = _explained(answer, within or reply.status, json_object(reply.body))
    if answer.hint == HINT_IN_DOUBT:
        answer = answer._replace(hint=_HARMLESS)
    return (answer,) * len(batch)


def _explained(answer: Answer, status: int, body: Mapping[str, Any]) -> Answer:
    """`answer` with what Xsolla's error body says: its codes, words and transaction.

    status  of the refusal: of the error in the body of a 2xx, else of the reply
    """
    codes = _codes(body)
    return answer._replace(
        verdict=_verdict(answer, status, codes),
        code=_code(codes, _bracket(body)) or answer.code,
        message=_message(body) or answer.message,
        hint=_hint(answer, status, codes),
        request_id=compare.short(body.get("transactionId")),
    )


def _bracket(body: Mapping[str, Any]) -> re.Match[str] | None:
    text = body.get("errorMessage")
    return _BRACKET.match(text) if isinstance(text, str) else None


def _codes(body: Mapping[str, Any]) -> tuple[int, ...]:
    """The codes of the body, `errorCode` first; 0 is none. They disagree in SPEC's own examples."""
    error_code, bracket = body.get("errorCode"), _bracket(body)
    found = [int(bracket[2])] if bracket else []
    if isinstance(error_code, str) and re.fullmatch(r"[0-9]{1,6}", error_code):
        error_code = int(error_code)
    if type(error_code) is int and 0 < error_code <= _LARGEST:
        found.insert(0, error_code)
    return tuple(dict.fromkeys(code for code in found if code))


def _code(codes: tuple[int, ...], bracket: re.Match[str] | None) -> str:
    """Both codes as Xsolla writes them: `0401-1020` if they agree, else `0401-9802/4001`."""
    written = f"{bracket[1]}-{bracket[2]}" if bracket and int(bracket[2]) else ""
    others = [str(code) for code in codes if not bracket or code != int(bracket[2])]
    return "/".join(filter(None, (written, *others)))


def _verdict(answer: Answer, status: int, codes: tuple[int, ...]) -> Verdict:
    if answer.verdict is not Verdict.REJECTED or not codes:
        return answer.verdict
    if status != _NOT_FOUND:
        more = _PASSING_422 if answer.http_status == _UNPROCESSABLE else ()
        if {*_PASSING, *more}.issuperset(codes):
            return Verdict.TRANSIENT
    return Verdict.FATAL if _MISCONFIGURED.issuperset(codes) else Verdict.REJECTED


def _hint(answer: Answer, status: int, codes: tuple[int, ...]) -> str:
    if answer.effect is Effect.MAYBE:
        return answer.hint
    relevant = [code for code in codes if status != _NOT_FOUND or code not in _OUTAGES]
    known = [_HINTS[code] for code in relevant if code in _HINTS]
    return known[0] if known else _HINTS_BY_STATUS.get(status, answer.hint)


def _message(body: Mapping[str, Any]) -> str:
    """Xsolla's words without the codes in front, then each property with its own."""
    text, extended = body.get("errorMessage"), body.get("errorMessageExtended")
    words = _BRACKETS.sub("", text).strip() if isinstance(text, str) else ""
    entries = (
        [e for e in extended[:10] if isinstance(e, dict)] if isinstance(extended, list) else []
    )
    pairs = [map(compare.short, (entry.get("property"), entry.get("message"))) for entry in entries]
    details = (": ".join(filter(None, pair)) for pair in pairs)
    return plain("; ".join(filter(None, (words, *details))), _SHOWN_MESSAGE_CHARS)


# -------------------------------------------------------------------------------- reading back

# COUPON, SPEC: default 10; no source says if an omitted limit means 10, none or unchanged
_REDEEM_LIMITS: Final = ("redeem_total_limit", "redeem_user_limit", "redeem_code_limit")
_NEVER_NULL: Final = frozenset({"attribute_conditions", "limits", "excluded_promotions"})
_NO_SUCH: Final = frozenset({9502, 9802})  # SPEC: no such promotion, no such coupon


def _state(
    fields: tuple[str, ...], key: str, s: XsollaSettings, job: Job, reply: Reply
) -> State | Missing | None:
    """The state of the job's entity in a reply; None if the reply names another one (SPEC)."""
    named = None if reply.is_cut else json_object(reply.body).get(key)
    is_another = isinstance(named, str | int) and str(named) != _entity(s, job).id
    return None if is_another else _held(fields, reply)


def _held(fields: tuple[str, ...], reply: Reply) -> State | Missing | None:
    body = {} if reply.is_cut else json_object(reply.body)
    if reply.status == 404:  # noqa: PLR2004 - a status says what it is
        return None if _NO_SUCH.isdisjoint(_codes(body)) else MISSING
    if reply.status != 200 or not isinstance(body.get("name"), dict):  # noqa: PLR2004
        return None
    held = _documented({n: body[n] for n in fields if n in body})
    return State({n: v for n, v in held.items() if v is not None or n not in _NEVER_NULL})


# SPEC: `limit` and `offset`; no source has their maximum
_PAGE_ENTITIES: Final = 50


def _list(s: XsollaSettings, job: Job, offset: str) -> Request:
    kind = "coupon" if isinstance(job, Coupon) else "promotion/bonus"
    query = f"limit={_PAGE_ENTITIES}&offset={offset or 0}"
    path = f"/v2/project/{_project(s, job)}/admin/{kind}?{query}"
    return Request("GET", path, headers=_READ_HEADERS)


def _page(
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
    **{name: compare.only(*members) for name, members in _MEMBERS.items()},
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


def _differences(_s: XsollaSettings, job: Job, state: State) -> tuple[Difference, ...]:
    given = job.given()
    # whatever Xsolla makes of an omitted redeem limit is right
    fields = [name for name in _BODY[type(job)] if name in given or name not in _REDEEM_LIMITS]
    return compare.differences(
        _documented(given), state.fields, fields, _MEANINGS, members_of=("name", "limits")
    )


# ------------------------------------------------------------------------------- plans and undo


def _after(_s: XsollaSettings, job: Job, _state: State) -> State:
    given = job.given()
    return State({name: given[name] for name in _BODY[type(job)] if name in given})


def _state_differences(
    fields: tuple[str, ...], _s: XsollaSettings, wanted: State, found: State
) -> tuple[Difference, ...]:
    first, second = (_documented(state.fields) for state in (wanted, found))
    return compare.differences(first, second, fields, _MEANINGS, members_of=("name", "limits"))


def _merge(_s: XsollaSettings, job: Job, state: State) -> Job:
    """The row merged into the state: maps by key, all else as a whole; null and [] are values."""
    given = job.given()
    held: dict[str, Any] = dict(state.fields)
    for name in ("name", "limits"):
        if isinstance(given.get(name), dict) and isinstance(held.get(name), dict):
            given[name] = {**held[name], **given[name]}
    return _whole(job, {**held, **given})


def _inverse(_s: XsollaSettings, job: Job, state: State) -> Job:
    return _whole(job, state.fields)


def _whole(job: Job, fields: Mapping[str, Any]) -> Job:
    """An update of what `job` updates, to these fields; what they lack is sent as null.

    Not checked: a value that the vendor holds is not ours to refuse.
    """
    given = job.given()
    values: dict[str, Any] = {name: given[name] for name in _ADDRESS if name in given}
    for name in _BODY[type(job)]:
        # a read shows no list of conditions as none or empty, and an update may hold neither
        is_none = fields.get(name) is None or (name == "attribute_conditions" and not fields[name])
        if not (is_none and name in _NEVER_NULL):
            values[name] = fields.get(name)
    return type(job).trusted(to_json(values).decode())


# ------------------------------------------------------------------------------------- a trial

_GONE = (404, 405, 410, 501)


def _probe(s: XsollaSettings) -> Request:
    """The shortest page of coupons."""
    path = f"/v2/project/{s.project_id}/admin/coupon?limit=1&offset=0"
    return Request("GET", path, headers=_READ_HEADERS)


def _probed(_s: XsollaSettings, reply: Reply) -> Probed | None:
    """Judge if version 2 still answers: V3 describes its successor, and no source names an end."""
    if reply.status in _GONE or reply.status // 100 == 3:  # noqa: PLR2004 - the class of redirects
        return Probed(
            f"version 2 of the API does not answer for this project (HTTP {reply.status})",
            "Check base_url and project_id. If both are right, Xsolla has ended version 2: ask its "
            "support, and send nothing until this program supports a later one",
            is_fault=True,
        )
    if reply.status != 200:  # noqa: PLR2004
        return None
    if reply.is_cut or not json_object(reply.body):
        return Probed(
            "the server at base_url is not version 2 of the API: its reply is not a JSON object",
            "Check base_url",
            is_fault=True,
        )
    for header in ("Sunset", "Deprecation"):  # RFC 8594, RFC 9745
        if header in reply.headers:
            return Probed(
                f"version 2 of the API answers, and announces its end: {header}: "
                + plain(reply.headers[header], 60),
                "Ask Xsolla's support until when, and look for a later version of this program",
            )
    return Probed("version 2 of the API answers")


def _operation(job_type: type[Job], id_in_reads: str, **own: Any) -> Operation[XsollaSettings, Any]:
    """An operation: what both have in common, and the job type's `own` parts."""
    return Operation(
        job_type=job_type,
        replaces=True,
        # no source has numbers (SPEC: no 429, no Retry-After): a cautious guess
        defaults=Defaults(quota=("10/s",), in_flight=8, timeout_s=30.0),
        entity=_entity,
        encode=_encode,
        head=lambda _s: RequestHead("PUT", _HEADERS),
        confirmation=lambda _s, _job: _CONFIRMATION,
        decode=_decode,
        plain_success=_NO_CONTENT,
        known=_KNOWN,
        refuse=_refuse,
        repeatable=lambda _s, _job: True,
        repeat_note="harmless: a full replace, sent twice it leaves the same state (inferred)",
        warn=_warn,
        reading=EntityRead(
            request=lambda s, job: Request("GET", _path(s, job), headers=_READ_HEADERS),
            state=partial(_state, _BODY[job_type], id_in_reads),
            differences=_differences,
            # Nor has any how long Xsolla works on: we wait 30 s for a reply, and as long again
            settle_after_s=60.0,
            listing=lambda _s: Listing(
                request=_list, page=partial(_page, _BODY[job_type], id_in_reads)
            ),
        ),
        change=Change(
            after=_after,
            differences=partial(_state_differences, _BODY[job_type]),
            merge=_merge,
            inverse=_inverse,
            gap=lambda _s: (
                "Xsolla has no etag: a change within the round trip before a row is "
                "sent goes unnoticed"
            ),
        ),
        **own,
    )


BONUS_PROMOTION: Final = _operation(
    BonusPromotion,
    "id",
    name="xsolla.bonus-promotion",
    summary="Update a bonus promotion: items given with a purchase",
    entity_kind="promotion",
    sample=MappingProxyType(
        {
            "promotion_id": "111425",
            "project_id": "44056",
            "name.en-US": "Summer bonus",
            "name.de-DE": "Sommerbonus",
            "condition": "null",
            "bonus": "elven_shield:2, elven_sword",
            "date_start": "2027-06-01T00:00:00+02:00",
            "date_end": "2027-09-01T00:00:00+02:00",
            "attribute_conditions": (
                '[{"attribute": "country", "operator": "eq", "value": "DE", "type": "string", '
                '"can_be_missing": false}]'
            ),
            "limits.per_user": "5",
            "limits.recurrent_schedule": (
                '{"per_user": {"interval_type": "daily", "time": "11:00:00+03:00"}}'
            ),
            "price_conditions": "ge 10, lt 49.99",
            "excluded_promotions": "12, 789",
        }
    ),
)

COUPON: Final = _operation(
    Coupon,
    "external_id",
    name="xsolla.coupon",
    summary="Update a coupon: items given for a code",
    entity_kind="coupon",
    always=_REDEEM_LIMITS,
    sample=MappingProxyType(
        {
            "external_id": "coupon_44056_1",
            "project_id": "44056",
            "name.en-US": "Coupon title",
            "name.de-DE": "Gutscheintitel",
            "bonus": "elven_shield:2, elven_sword",
            "date_start": "2027-06-01T00:00:00+02:00",
            "date_end": "2027-09-01T00:00:00+02:00",
            "redeem_total_limit": "1000",
            "redeem_user_limit": "1",
            "redeem_code_limit": "null",
            "attribute_conditions": (
                '[{"attribute": "country", "operator": "eq", "value": "DE", "type": "string"}]'
            ),
        }
    ),
)

VENDOR: Final = Vendor(
    name="xsolla",
    summary="Xsolla store: bonus promotions and coupons (API version 2)",
    settings=XsollaSettings,
    authenticate=_authenticate,
    scope=lambda settings: f"project {settings.project_id}",
    operations=(BONUS_PROMOTION, COUPON),
    probe=Probe(request=_probe, judge=_probed),
    simulated=MappingProxyType({"project_id": 44056, "api_key": "simulator-key"}),
)
