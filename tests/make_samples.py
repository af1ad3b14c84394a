"""Writes the Parquet samples: `.venv/bin/python tests/make_samples.py`. A test holds them to it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl

SAMPLES = Path(__file__).parents[1] / "inputs/samples"
BERLIN = timezone(timedelta(hours=1))
ACCOUNT = "sample-xsolla"


def row(promotion_id: int, name: str, **fields: Any) -> dict[str, Any]:
    """A promotion with every field, most of them as they usually are."""
    return {
        "account": ACCOUNT,
        "promotion_id": promotion_id,
        "name.en-US": name,
        "name.de-DE": "omit",
        "condition": "elven_sword",
        "bonus": [{"sku": "elven_shield", "quantity": 1}],
        "date_start": datetime(2026, 12, 1, 9, tzinfo=BERLIN),
        "date_end": datetime(2027, 1, 6, 23, 59, tzinfo=BERLIN),
        "attribute_conditions": "omit",
        "limits.per_user": 1,
        "limits.recurrent_schedule": "null",
        "price_conditions": "null",
        "excluded_promotions": [],
        **fields,
    }


DAILY = '{"per_user": {"interval_type": "daily", "time": "06:00:00+01:00"}}'
WEEKLY = '{"per_user": {"interval_type": "weekly", "time": "06:00:00+01:00", "day_of_week": 1}}'
MONTHLY = '{"per_user": {"interval_type": "monthly", "time": "00:00:00+00:00", "day_of_month": 31}}'
PRICED = '[{"operator": "ge", "value": "9.99"}, {"operator": "lt", "value": "50"}]'
OFFICERS = '[{"attribute": "guild_rank", "operator": "eq", "value": "officer", "type": "string"}]'

ROWS = [
    row(111425, "Sword and shield"),
    row(111426, "Two for one", bonus=[{"sku": "elven_sword", "quantity": 1}]),
    row(111427, "Daily gift", **{"limits.recurrent_schedule": DAILY}),
    row(111428, "Weekly gift", **{"limits.recurrent_schedule": WEEKLY}),
    row(111429, "Month's end gift", **{"limits.recurrent_schedule": MONTHLY}),
    row(111430, "Any purchase", condition="null", price_conditions=PRICED),
    row(111431, "Officers only", attribute_conditions=OFFICERS),
    row(111432, "Not with the sword", excluded_promotions=[111425, 111426]),
    row(111433, "Generous", bonus=[{"sku": "gold_coins", "quantity": 1000}]),
    row(111434, "Set of three", condition="helm, boots, gloves"),
    row(111435, "Winter solstice", date_end=datetime(2026, 12, 22, tzinfo=BERLIN)),
    row(111436, "Dragon egg", bonus=[{"sku": "dragon_egg", "quantity": 1}]),
    row(990503, "Out twice, then in"),
    row(990429, "Never let in"),
    row(990104, "Applied, answer lost"),
    row(111440, "Unknown thing", bonus=[{"sku": "no_such_sku", "quantity": 1}]),
    row(111441, "Above officers", attribute_conditions=OFFICERS.replace('"eq"', '"gt"')),
    row(111442, "Wrong hour", **{"limits.recurrent_schedule": DAILY.replace("06:00", "06:30")}),
    row(111443, "Free of charge", price_conditions=PRICED.replace("9.99", "-1")),
    row(111425, "Sword, shield and luck", **{"limits.per_user": 3}),
    row(111445, "Lantern night", bonus=[{"sku": "lantern", "quantity": 3}]),
    row(111446, "Festival", **{"name.de-DE": "Fest"}),
    row(111447, "Feast", bonus=[{"sku": "feast_table", "quantity": 2}]),
    row(111448, "Ice palace", condition="ice_key"),
    row(111449, "New Year", date_start=datetime(2026, 12, 31, 18, tzinfo=BERLIN)),
    row(111450, "Three Kings", date_start=datetime(2027, 1, 5, tzinfo=BERLIN)),
]


def offer(number: int, status: str, **fields: Any) -> dict[str, Any]:
    """A purchased offer; only what the row gives is set."""
    given = {"offer_id": f"0.0.0.1+-purchased_product+{number}", "status": status, **fields}
    return {"account": "sample-oracle", **dict.fromkeys(OFFER_COLUMNS), **given}


OFFER_COLUMNS = ("offer_id", "status", "effective_date", "notes")
REASON = {"accountId": "0.0.0.1+-account+123123", "comments": [{"csrLoginId": "night.run"}]}

OFFERS = [
    *(offer(209130 + n, "active") for n in range(12)),
    *(offer(209150 + n, "inactive") for n in range(9)),
    offer(209142, "2"),
    offer(0, "inactive", offer_id="0.0.0.1+-purchased_discount+345678"),
    offer(0, "active", offer_id="0.0.0.1 /purchased_product 209160 12"),
    offer(209161, "inactive", effective_date=datetime(2026, 12, 1, tzinfo=BERLIN)),
    offer(209162, "active", notes=REASON),
    offer(209130, "inactive"),
    offer(990503, "active"),
    offer(990429, "active", effective_date=datetime(2026, 12, 1, tzinfo=BERLIN)),
    offer(990104, "inactive", effective_date=datetime(2026, 12, 1, tzinfo=BERLIN)),
    offer(6660001, "active"),
    offer(209170, "canceled"),
    offer(209171, "suspended"),
    offer(0, "active", offer_id="0.0.0.1+-account+123123"),
    offer(0, "active", offer_id="2.0913E+05"),
]


def frames() -> dict[Path, pl.DataFrame]:
    """The samples as frames: lists, numbers and timestamps of their own types, the rest text."""
    return {
        SAMPLES / "xsolla.bonus-promotion/winter_bonuses.parquet": pl.DataFrame(
            ROWS, infer_schema_length=None
        ),
        SAMPLES / "oracle.offer-status/night_status.parquet": pl.DataFrame(
            OFFERS, infer_schema_length=None
        ),
    }


if __name__ == "__main__":
    for file, frame in frames().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(file)
        print(f"wrote {file}: {frame.height} rows")
