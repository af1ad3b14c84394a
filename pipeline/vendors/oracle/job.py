"""The job: the status of one purchased offer; doubts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from pipeline.model import Cell, CellKind, UpdateJob
from pipeline.model.validation import value_error
from pipeline.vendors.kit.contract import ABSENT
from pipeline.vendors.oracle.values import (
    USUAL,
    Kind,
    ObjectId,
    Status,
    checked_date,
    checked_id,
    checked_notes,
    is_date,
    json_safe,
    kind_name,
    object_id,
    status_name,
)

# OFFERS, DETAIL
_KIND_OF_TYPE: Final[Mapping[str, Kind]] = {
    "-purchased_product": "charge",
    "-purchased_discount": "discount",
}


class OfferStatus(UpdateJob):
    """The status that a purchased offer is to have.

    offer_id  as the row writes it: `warn` can tell what was inferred; `offer_key` is the form that
              is sent and that tells offers apart
    status    always the name
    """

    offer_id: Annotated[
        str,
        Field(min_length=1),
        AfterValidator(checked_id),
        Cell(
            CellKind.ID,
            help="The purchased offer; or as BRM prints it: 0.0.0.1 /purchased_product 209130 12.",
            example="0.0.0.1+-purchased_product+209130",
            is_opaque=True,
        ),
    ]
    status: Annotated[
        Status,
        BeforeValidator(status_name),
        Cell(
            CellKind.KEYWORD,
            help="active, inactive or canceled, or 1, 2 or 3; canceled cannot be undone.",
            example="inactive",
        ),
    ]
    kind: Annotated[
        Kind,
        BeforeValidator(kind_name),
        Cell(
            CellKind.KEYWORD,
            help="charge or discount, if the type in offer_id is missing or wrong.",
            example="charge",
        ),
    ] = ABSENT
    previous_status: Annotated[
        Status,
        BeforeValidator(status_name),
        Cell(
            CellKind.KEYWORD,
            help="The status it has now, as you know it; not sent. Plans and undo go by it.",
            example="active",
        ),
    ] = ABSENT
    effective_date: Annotated[
        str,
        AfterValidator(checked_date),
        Cell(CellKind.DATE, help="From when it holds.", example="2027-06-01T00:00:00+02:00"),
    ] = ABSENT
    notes: Annotated[
        dict[str, Any],
        AfterValidator(checked_notes),
        Cell(
            CellKind.OBJECT,
            help="A note to keep with the change; accountId is required in it.",
            example='{"accountId": "0.0.0.1+-account+123123", "header": "End of campaign"}',
        ),
    ] = ABSENT
    extension: Annotated[
        dict[str, Any],
        AfterValidator(json_safe),
        Cell(
            CellKind.OBJECT,
            help="Attributes that your site has added to Billing Care.",
            example='{"campaign": "summer"}',
        ),
    ] = ABSENT

    @model_validator(mode="wrap")
    @classmethod
    def _has_a_list(cls, values: Any, inner: ModelWrapValidatorHandler[Self]) -> Self:
        """A validator around all others, so that its fault is reported with theirs."""
        faults = list(_list_faults(values))
        try:
            job = inner(values)
        except ValidationError as error:
            faults += [
                InitErrorDetails(
                    type=PydanticCustomError(fault["type"], fault["msg"]),
                    loc=fault["loc"],
                    input=fault["input"],
                )
                for fault in error.errors(include_url=False)
            ]
        if faults:
            raise ValidationError.from_exception_data("OfferStatus", faults)
        return job


def _list_faults(values: Any) -> Iterator[InitErrorDetails]:
    """Yield a fault if neither the id nor `kind` says which list the offer belongs to."""
    text = values.get("offer_id") if isinstance(values, dict) and "kind" not in values else None
    try:
        is_open = isinstance(text, str) and object_id(text).type not in _KIND_OF_TYPE
    except ValueError:
        is_open = False  # no id at all has a fault of its own
    if is_open:
        fault = value_error(
            "expected purchased_product as the type, which goes to chargeOffers, or "
            "purchased_discount, which goes to discountOffers; an offer of another type needs a "
            "column kind that says charge or discount"
        )
        yield InitErrorDetails(type=fault, loc=("offer_id",), input=text)


def offer_key(job: OfferStatus) -> ObjectId:
    """The offer's id, the same however the row wrote it."""
    return object_id(job.offer_id)


def kind_of_type(job: OfferStatus) -> Kind | None:
    """The kind that the type in the id tells; None: it tells none."""
    return _KIND_OF_TYPE.get(offer_key(job).type)


# ------------------------------------------------------------------------ doubts, never a refusal


def warn(job: OfferStatus) -> tuple[str, ...]:
    """Doubts about a row."""
    return tuple(_doubts(job))


def _doubts(job: OfferStatus) -> Iterator[str]:
    sent = offer_key(job).text
    if sent != job.offer_id:
        yield (
            "offer_id: rewritten into the form of Billing Care's samples, as in "
            "0.0.0.1+-purchased_product+209130; that this is the same offer is inferred"
        )
    if not USUAL.fullmatch(sent):
        yield "offer_id: none of Billing Care's samples has an id of this form"
    if job.kind is not None and job.kind != (kind_of_type(job) or job.kind):
        yield f"kind: {job.kind}, but the type in offer_id is that of a {kind_of_type(job)}"
    for name in ("effectiveDate", "closedDate"):
        moment = (job.notes or {}).get(name)
        if moment is not None and not (isinstance(moment, str) and is_date(moment)):
            yield f"notes: {name} is not a date in the form 2027-06-01T00:00:00+02:00"
