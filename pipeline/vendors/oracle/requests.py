"""The request, which rows may share it, and which may be sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import to_json

from pipeline.model import EntityKey, Request
from pipeline.vendors.oracle.job import OfferStatus, kind_of_type, offer_key
from pipeline.vendors.oracle.settings import OracleSettings
from pipeline.vendors.oracle.values import CODES

_LISTS: Final[Mapping[str, str]] = {"charge": "chargeOffers", "discount": "discountOffers"}

# SEND. The body has the ids as they are: a plus sign in a path or a form would be a blank.
HEADERS: Final = MappingProxyType(
    {"Content-Type": "application/json", "Accept": "application/json"}
)
_PATH: Final = "/statusupdate/offers"


def encode(s: OracleSettings, batch: Sequence[OfferStatus]) -> Request:
    """One request; all members but the two lists are those of every job of the batch."""
    first = batch[0]
    code = CODES[first.status]
    body: dict[str, Any] = {
        "statusCode": str(code) if s.status_as == "text" else code,
        # OFFERS: the sample sends both lists, the one without an offer empty
        "chargeOffers": [],
        "discountOffers": [],
    }
    for job in batch:
        kind = job.kind or kind_of_type(job)
        body[_LISTS[str(kind)]].append({"ref": {"id": offer_key(job).text}})
    given = first.given()
    for name, field in (
        ("effectiveDate", "effective_date"),
        ("notes", "notes"),
        ("extension", "extension"),
    ):
        if field in given:
            body[name] = given[field]
    return Request("PUT", _PATH, to_json(body), HEADERS)


def entity(s: OracleSettings, job: OfferStatus) -> EntityKey:
    """The offer, whatever list it is in."""
    return EntityKey("oracle", s.origin, "", "purchased-offer", offer_key(job).text)


# Nothing here is in a source; all is inferred, on the careful side.
_NOT_TWICE: Final = frozenset(
    {
        "notes",  # every request may write another note
        "effective_date",  # if it is in the past it changes what was rated; there is no clock here
        "extension",  # what it does is the site's own
    }
)


def writes(_s: OracleSettings, job: OfferStatus) -> frozenset[str]:
    """The status. Other fields of a row (a note, a date) are not undone by a plain status."""
    others = job.model_fields_set & {"effective_date", "notes", "extension"}
    return frozenset({"/status", *(f"/{name}" for name in others)})


def repeatable(_s: OracleSettings, job: OfferStatus) -> bool:
    """True if sending the job twice is harmless."""
    return not irreversible(job) and _NOT_TWICE.isdisjoint(job.model_fields_set)


def irreversible(job: OfferStatus) -> bool:
    """True for canceled: nothing leads back from it (inferred)."""
    return job.status == "canceled"  # inferred: no way back to another status


def batch_key(s: OracleSettings, job: OfferStatus) -> str:
    """Status, date, note and extension hold for a whole request (OFFERS).

    Jobs that may be repeated have nothing of this but the status. The others travel alone: the
    500 that one wrong id brings would leave all of them in doubt.
    """
    return job.status if repeatable(s, job) else ""
