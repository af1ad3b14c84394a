"""Oracle BRM, Billing Care REST: the status of offers that customers have purchased.

One request sets one status for many offers: `chargeOffers` and `discountOffers` list them, and
`statusCode`, `effectiveDate`, `notes` and `extension` hold for all. The answer is 200 with `true`;
the only failure that is documented is 500, which a wrong id and an outage share.

The sources of the facts below, each with the version of its documentation.

    OFFERS  docs.oracle.com, "Update an Offer's Status", 15.0, op-statusupdate-offers-put
    INDEX   the same for the whole group, 12.0 and 16.26.0, api-status-update
    SEND    15.0, "Send Requests" (SendRequests) and the list of statuses (reference)
    AUTH    15.1, "Authenticate"
    TOKEN   15.2, op-authentication-queryaccesstoken-get; 15.0, "Request an Access Token"
    NOTES   15.0, op-notes-post, op-notes-account-id-get, op-notes-billunit-id-get
    DETAIL  15.0, op-subscriptions-offerdetails-id-put
    STATUS  15.1 and 16.26.0, the siblings for accounts and services

What these state refuses a row. What is only inferred, or where they contradict one another, only
warns: a client stricter than its vendor blocks good rows. Not in any source: the body of an error,
how many offers a request may list, whether it is applied whole or in part, and rate limits. We
found no page that shows how the current status is read: those of "Get Services for an Account"
(12.0, 15.0) and "Get Service Details" (15.0, 15.1) speak of lists of offers, and what an offer in
them holds was cut off in what we could read.

OFFERS names XML beside JSON. It is not offered here: the name and the namespace of its root
element are not published, so that a body could only be guessed.

In reading order: `values`, `settings`, `job`, `requests`, `replies`.

Not here: other vendors, and what they share, which is in `kit`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

from pydantic_core import to_json

from pipeline.vendors.kit import compare
from pipeline.vendors.kit.contract import (
    Change,
    Defaults,
    Difference,
    Operation,
    RequestHead,
    State,
    Vendor,
)
from pipeline.vendors.oracle import replies, requests, settings
from pipeline.vendors.oracle.job import OfferStatus, warn
from pipeline.vendors.oracle.replies import CONFIRMATION, KNOWN
from pipeline.vendors.oracle.requests import HEADERS
from pipeline.vendors.oracle.settings import OracleSettings

__all__ = ["OFFER_STATUS", "VENDOR", "OfferStatus", "OracleSettings"]

# We found no page that shows how to read the status of a purchased offer: rows state it.


def _stated(_s: OracleSettings, job: OfferStatus) -> State | None:
    was = job.previous_status
    return None if was is None else State({"status": was})


def _state_differences(_s: OracleSettings, wanted: State, found: State) -> tuple[Difference, ...]:
    return compare.differences(wanted.fields, found.fields, ("status",), {})


def _inverse(_s: OracleSettings, job: OfferStatus, state: State) -> OfferStatus | None:
    """The job that restores the status alone: a note and a date of effect are not undone."""
    was = state.fields.get("status")
    if was is None or job.status == "canceled":  # canceled is final (inferred)
        return None
    values: dict[str, Any] = {"offer_id": job.offer_id, "status": was}
    if "kind" in job.model_fields_set:
        values["kind"] = job.kind
    return OfferStatus.trusted(to_json({**values, "previous_status": job.status}).decode())


# ------------------------------------------------------------------------------ what is offered

OFFER_STATUS: Final = Operation(
    name="oracle.offer-status",
    summary="Set the status of purchased offers: active, inactive or canceled",
    job_type=OfferStatus,
    entity_kind="purchased-offer",
    replaces=False,
    # No source has numbers: on-premises, so the capacity is the site's. A cautious guess; a call
    # may run through rating, hence the long timeout.
    defaults=Defaults(quota=("5/s",), in_flight=4, timeout_s=120.0),
    entity=requests.entity,
    encode=requests.encode,
    head=lambda _s: RequestHead("PUT", HEADERS),
    confirmation=lambda _s, _job: CONFIRMATION,
    decode=replies.decode,
    known=KNOWN,
    repeatable=requests.repeatable,
    repeat_note=(
        "harmless for a status alone (inferred: an offer that has it already keeps it); not with "
        "notes, effective_date (it may be in the past) or extension, and not for canceled"
    ),
    irreversible=requests.irreversible,
    batch_key=requests.batch_key,
    batch_size=lambda s: s.max_batch,
    writes=requests.writes,
    warn=warn,
    change=Change(
        after=lambda _s, job, _state: State({"status": job.status}),
        differences=_state_differences,
        inverse=_inverse,
        stated=_stated,
        gap=lambda _s: (
            "we found no page that shows how to read an offer's status: nothing is compared, "
            "and a change by somebody else goes unnoticed"
        ),
    ),
    sample=MappingProxyType(
        {
            "offer_id": "0.0.0.1+-purchased_product+209130",
            "status": "inactive",
            "kind": "charge",
            "previous_status": "active",
            "effective_date": "2027-06-01T00:00:00+02:00",
            "notes": '{"accountId": "0.0.0.1+-account+123123", "header": "End of campaign"}',
            "extension": '{"campaign": "summer"}',
        }
    ),
)

VENDOR: Final = Vendor(
    name="oracle",
    summary="Oracle BRM Billing Care REST: the status of purchased offers (API version 1.0)",
    settings=OracleSettings,
    authenticate=settings.authenticate,
    operations=(OFFER_STATUS,),
    simulated=MappingProxyType(
        {
            "auth": "bearer",
            "client_id": "simulator-client",
            "client_secret": "simulator-secret",
            "max_batch": 20,
        }
    ),
)
