"""The two jobs, and the short forms of their cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WrapValidator

from pipeline.model import Cell, CellKind, UpdateJob
from pipeline.model.validation import value_error
from pipeline.vendors.kit.contract import ABSENT
from pipeline.vendors.xsolla.bodies import (
    DIGITS,
    AttributeConditions,
    Item,
    Limits,
    Name,
    PriceCondition,
    Reward,
    Text,
    Whole,
    date_text,
    id_number,
    plainly,
)


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
    if not all(DIGITS.fullmatch(part) for part in parts):
        raise ValueError("ids of digits, parted by commas, as in 12, 789")
    return [int(part) for part in parts]


# ----------------------------------------------------------------------------------- the jobs

ProjectId = Annotated[
    int,
    BeforeValidator(id_number),
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
    Annotated[list[Reward] | None, WrapValidator(plainly)],
    Cell(
        CellKind.LIST,
        help="What the player gets: SKU:quantity, parted by commas; quantity 1 may be left out.",
        example="elven_shield:2, elven_sword",
        short=_short_bonus,
    ),
]
DateStart = Annotated[
    str | None,
    AfterValidator(date_text),
    Cell(
        CellKind.DATE, help="When it begins.", example="2027-06-01T00:00:00+02:00", is_opaque=True
    ),
]
DateEnd = Annotated[
    str | None,
    AfterValidator(date_text),
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
        BeforeValidator(id_number),
        Cell(CellKind.ID, help="The promotion to update.", example="111425", is_opaque=True),
    ]
    project_id: ProjectId = ABSENT
    name: NameField
    condition: Annotated[
        Annotated[list[Item] | None, WrapValidator(plainly)],
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
        Annotated[Limits, WrapValidator(plainly)],
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
        Annotated[list[PriceCondition] | None, WrapValidator(plainly)],
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
        Annotated[list[Whole], WrapValidator(plainly)],
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
