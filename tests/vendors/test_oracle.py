"""Billing Care's one update, fact by fact. Sources are named as in `pipeline/vendors/oracle/`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from pipeline.model import Effect, NoReply, Reply, Verdict
from pipeline.vendors.kit.contract import Basic, Bearer, TokenCall
from pipeline.vendors.oracle import OFFER_STATUS, VENDOR, OfferStatus, OracleSettings

BASE_URL = "https://billing.example.com:7002/bcws/webresources/v1.0"
SITE = OracleSettings(base_url=BASE_URL, client_id="c-very-secret", client_secret="s-very-secret")
PRODUCT = "0.0.0.1+-purchased_product+209130"
DISCOUNT = "0.0.0.1+-purchased_discount+345678"
DATE = "2027-06-01T00:00:00+02:00"
NOTE = {"accountId": "0.0.0.1+-account+123123"}


def offer(**values: Any) -> OfferStatus:
    return OfferStatus.model_validate({"offer_id": PRODUCT, "status": "inactive", **values})


def site(**values: Any) -> OracleSettings:
    return OracleSettings.model_validate({"base_url": BASE_URL, **values})


def complaints(values: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by place."""
    with pytest.raises(ValidationError) as caught:
        OfferStatus.model_validate({"offer_id": PRODUCT, "status": "inactive", **values})
    return {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}


def is_accepted(**values: Any) -> bool:
    try:
        offer(**values)
    except ValidationError:
        return False
    return True


def body_of(*jobs: OfferStatus, of: OracleSettings = SITE) -> dict[str, Any]:
    return json.loads(OFFER_STATUS.encode(of, jobs).body)


# ------------------------------------------------------------------------------------ ids

IDS = [
    # OFFERS, DETAIL: as REST writes it
    (PRODUCT, PRODUCT, "chargeOffers"),
    (DISCOUNT, DISCOUNT, "discountOffers"),
    ("0.0.0.2+-purchased_product+1", "0.0.0.2+-purchased_product+1", "chargeOffers"),
    # inferred: as BRM prints it; the revision is not part of the id
    ("0.0.0.1 /purchased_product 209130 12", PRODUCT, "chargeOffers"),
    ("0.0.0.1 /purchased_product 209130 0", PRODUCT, "chargeOffers"),
    ("0.0.0.1 /purchased_product 209130", PRODUCT, "chargeOffers"),
    ("0.0.0.1  /purchased_discount  345678  3", DISCOUNT, "discountOffers"),
    # inferred: a number is a number
    ("0.0.0.1+-purchased_product+00209130", PRODUCT, "chargeOffers"),
]


@pytest.mark.parametrize(("written", "sent", "in_list"), IDS)
def test_an_offer_has_one_name_and_one_list(written, sent, in_list):
    job = offer(offer_id=written)
    body = body_of(job)
    other = {"chargeOffers": "discountOffers", "discountOffers": "chargeOffers"}[in_list]
    assert (body[in_list], body[other]) == ([{"ref": {"id": sent}}], [])
    assert OFFER_STATUS.entity(SITE, job).id == sent
    assert bool(OFFER_STATUS.warn(job)) == (written != sent)


NO_IDS = [
    "",
    "209130",
    "0.0.0.1",
    "0.0.0.1+-purchased_product+",
    "0.0.0.1+-purchased_product+x",
    "0.0.0.1+-purchased_product+209130+12",  # no source shows a revision in REST's form
    "0.0.0.1+purchased_product+209130",
    "0.0.0.1+/purchased_product+209130",
    "0.0.0.1+-purchased product+209130",
    "0.0.0.1 -purchased_product 209130",  # what a form makes of the plus signs
    "0.0.0.1%2B-purchased_product%2B209130",
    "0.0.0.1 purchased_product 209130 12",
    "0.0.0.1\t/purchased_product\t209130",
    "0.0.0.0++0",  # NOTES: a reference to nothing
    f"{PRODUCT}\n",
    f" {PRODUCT}",
    "0.0.0.1+-purchased_product+-5",
    "0.0.0.1+-purchased_product+٢",
    "0.0.0.1+-\ud800+1",
    209130,
    None,
]


@pytest.mark.parametrize("written", NO_IDS)
@pytest.mark.parametrize("more", [{}, {"kind": "charge"}], ids=["", "kind"])
def test_what_is_no_id_is_refused_whatever_kind_says(written, more):
    assert "offer_id" in complaints({"offer_id": written, **more})


def test_an_unusual_id_is_sent_and_doubted():
    # that a type holds letters, digits, dashes and underscores only is inferred
    job = offer(offer_id="0.0.1+-purchased_product.x+7", kind="charge")
    assert body_of(job)["chargeOffers"] == [{"ref": {"id": "0.0.1+-purchased_product.x+7"}}]
    assert any("form" in doubt for doubt in OFFER_STATUS.warn(job))


OTHER_TYPES = [
    ("0.0.0.1+-account+123123", "0.0.0.1+-account+123123"),
    ("0.0.0.1+-service-ip+123123", "0.0.0.1+-service-ip+123123"),
    ("0.0.0.1 /service/ip 123123 4", "0.0.0.1+-service-ip+123123"),
    ("0.0.0.1+-purchased_product-custom+1", "0.0.0.1+-purchased_product-custom+1"),
    ("0.0.0.1+-Purchased_Product+1", "0.0.0.1+-Purchased_Product+1"),
]


@pytest.mark.parametrize(("written", "sent"), OTHER_TYPES)
def test_another_type_needs_a_kind(written, sent):
    (told,) = complaints({"offer_id": written}).items()
    assert told[0] == "offer_id"
    assert all(name in told[1] for name in ("chargeOffers", "discountOffers", "column kind"))
    for kind, in_list in (("charge", "chargeOffers"), ("discount", "discountOffers")):
        assert body_of(offer(offer_id=written, kind=kind))[in_list] == [{"ref": {"id": sent}}]


def test_all_faults_of_a_row_are_reported_at_once():
    told = complaints(
        {
            "offer_id": "0.0.0.1+-account+1",
            "status": "0",
            "effective_date": "tomorrow",
            "notes": {"billId": 7, "count": "1"},
            "colour": "red",
        }
    )
    assert set(told) == {
        *("offer_id", "status", "effective_date"),
        *("notes.accountId", "notes.billId", "notes.count", "colour"),
    }


def test_a_missing_id_is_reported_as_missing():
    with pytest.raises(ValidationError) as caught:
        OfferStatus.model_validate({"status": "active"})
    assert [(e["type"], e["loc"]) for e in caught.value.errors()] == [("missing", ("offer_id",))]


KINDS = [
    # kind, id, list, doubted
    ("charge", PRODUCT, "chargeOffers", False),
    ("Charge", PRODUCT, "chargeOffers", False),
    ("DISCOUNT", DISCOUNT, "discountOffers", False),
    # it overrides what the type says, which is odd
    ("discount", PRODUCT, "discountOffers", True),
    ("charge", DISCOUNT, "chargeOffers", True),
]


@pytest.mark.parametrize(("kind", "written", "in_list", "is_doubted"), KINDS)
def test_kind_has_the_last_word_on_the_list(kind, written, in_list, is_doubted):
    job = offer(offer_id=written, kind=kind)
    assert body_of(job)[in_list] == [{"ref": {"id": written}}]
    assert any("kind" in doubt for doubt in OFFER_STATUS.warn(job)) == is_doubted


@pytest.mark.parametrize("kind", ["", "chargeOffers", "product", None, 1, True, []])
def test_a_kind_that_there_is_not(kind):
    assert complaints({"kind": kind}) == {"kind": "expected charge or discount"}


# --------------------------------------------------------------------------- what a field may be

STATUSES = [
    # OFFERS: 1 active, 2 inactive, 3 canceled
    ("active", "1"),
    ("inactive", "2"),
    ("canceled", "3"),
    ("1", "1"),
    ("2", "2"),
    ("3", "3"),
    (2, "2"),
    # in any case, and as the British write it
    ("ACTIVE", "1"),
    ("Inactive", "2"),
    ("cancelled", "3"),
    ("Cancelled", "3"),
    # what pandas makes of whole numbers with gaps between them
    ("2.0", "2"),
    ("3.00", "3"),
]


@pytest.mark.parametrize(("written", "code"), STATUSES)
def test_a_status_by_name_or_number(written, code):
    job = offer(status=written)
    assert body_of(job)["statusCode"] == code
    assert job.status == {"1": "active", "2": "inactive", "3": "canceled"}[code]


NO_STATUSES = [
    # OFFERS lists it as "not set": nothing that a row could want
    ("0", "not set"),
    (0, "not set"),
    ("0.0", "not set"),
    # OFFERS has no such value
    ("suspended", "inactive"),
    ("Suspended", "inactive"),
    ("4", "1, 2 or 3"),
    ("-1", "1, 2 or 3"),
    ("2.5", "1, 2 or 3"),
    ("02", "1, 2 or 3"),
    ("٢", "1, 2 or 3"),
    ("", "1, 2 or 3"),
    ("closed", "1, 2 or 3"),
    # STATUS: codes of the siblings
    ("10100", "accounts and services"),
    ("10102", "accounts and services"),
    ("10103", "accounts and services"),
    (True, "text"),
    (2.0, "text"),
    (None, "text"),
    ([], "text"),
]


@pytest.mark.parametrize(("written", "why"), NO_STATUSES)
def test_a_status_that_there_is_not(written, why):
    (told,) = complaints({"status": written}).items()
    assert told[0] == "status"
    assert why in told[1]


DATES = [
    # of OFFERS: a date and a time
    (DATE, True),
    ("2020-04-15T18:16:00Z", True),
    ("2020-04-15T18:16:00.123456789-00:30", True),
    ("2020-02-29T00:00:00Z", True),
    ("2021-02-29T00:00:00Z", False),
    ("2020-04-15", False),
    ("2020-04-15T18:16:00", False),
    ("2020-04-15T24:00:00Z", False),
    ("2020-04-15T18:16:60Z", False),
    ("2020-04-15T18:16:00+24:00", False),
    ("20200415T181600Z", False),
    ("", False),
    (1586970960000, False),
    (None, False),
]


@pytest.mark.parametrize(("written", "is_right"), DATES)
def test_the_effective_date(written, is_right):
    assert is_accepted(effective_date=written) == is_right
    if is_right:
        assert body_of(offer(effective_date=written))["effectiveDate"] == written


NOTES = [
    # notes need accountId, says OFFERS
    ({}, True),
    ({"accountId": None}, False),
    ({"accountId": 123123}, False),
    ({"accountId": " "}, False),
    # OFFERS, NOTES: types
    ({"amount": 1.5}, True),
    ({"amount": 2}, True),
    ({"amount": "2"}, False),
    ({"amount": True}, False),
    ({"billId": "0.0.0.1+-bill+1"}, True),
    ({"billId": 1}, False),
    ({"billUnitId": 1}, False),
    ({"eventId": 1}, False),
    ({"header": ["x"]}, False),
    ({"id": 1}, False),
    ({"itemId": 1}, False),
    ({"serviceId": 1}, False),
    ({"count": 2**31 - 1}, True),
    ({"count": -(2**31)}, True),
    ({"count": 2**31}, False),
    ({"domainId": "1"}, False),
    ({"reasonId": 1.0}, False),
    ({"reasonId": False}, False),
    ({"comments": []}, True),
    ({"comments": [{"csrLoginId": "root", "anything": 1}]}, True),
    ({"comments": {"csrLoginId": "root"}}, False),
    ({"comments": ["x"]}, False),
    ({"extension": {"a": [1, None]}}, True),
    ({"extension": []}, False),
    # sources disagree, text or milliseconds: both pass
    ({"effectiveDate": DATE}, True),
    ({"closedDate": 1586970960000}, True),
    ({"closedDate": "soon"}, True),
    ({"closedDate": 1.5}, False),
    ({"closedDate": {}}, False),
    # in sample responses only
    ({"status": 102, "type": 100, "subType": 105}, True),
    ({"status": "102"}, True),
    # the end of the schema is unknown
    ({"somethingNew": {"deep": [True, None, "ä"]}}, True),
    # nothing says that null may not be
    ({"billId": None, "comments": None, "closedDate": None}, True),
    # what JSON cannot hold
    ({"somethingNew": float("nan")}, False),
    ({"somethingNew": float("inf")}, False),
    ({"header": "\ud800"}, False),
    ({"somethingNew": (1, 2)}, False),
]


@pytest.mark.parametrize(("more", "is_right"), NOTES)
def test_notes_are_checked_as_far_as_they_are_known(more, is_right):
    note = {**NOTE, **more}
    assert is_accepted(notes=note) == is_right
    if is_right:
        assert body_of(offer(notes=note))["notes"] == note


@pytest.mark.parametrize("wrong", [None, [], "text", [NOTE], {"header": "x"}])
def test_notes_are_one_object_with_an_account(wrong):
    assert not is_accepted(notes=wrong)


def test_a_complaint_about_notes_names_the_member():
    assert complaints({"notes": {**NOTE, "reasonId": "7"}}) == {
        "notes.reasonId": "expected a whole number of 32 bits (reasonId)"
    }


DOUBTED_NOTES = [
    ({}, False),
    ({"effectiveDate": DATE, "closedDate": "2020-04-15T18:16:00Z"}, False),
    ({"effectiveDate": None}, False),
    # NOTES: the samples of replies have milliseconds, the schema says date-time
    ({"effectiveDate": 1586970960000}, True),
    ({"closedDate": "15.04.2020"}, True),
]


@pytest.mark.parametrize(("more", "is_doubted"), DOUBTED_NOTES)
def test_a_date_of_a_note_in_another_form_is_doubted(more, is_doubted):
    assert bool(OFFER_STATUS.warn(offer(notes={**NOTE, **more}))) == is_doubted


EXTENSIONS = [
    # OFFERS: an object, its members the site's own
    ({}, True),
    ({"campaign": "summer", "deep": {"a": [1, 2.5, None, True]}}, True),
    ([], False),
    ("x", False),
    (None, False),
    ({"a": float("nan")}, False),
    ({1: "a"}, False),
]


@pytest.mark.parametrize(("value", "is_right"), EXTENSIONS)
def test_the_extension_is_any_object(value, is_right):
    assert is_accepted(extension=value) == is_right
    if is_right:
        assert body_of(offer(extension=value))["extension"] == value


def test_an_object_nested_too_deep_is_refused_and_does_not_break_what_writes_jobs():
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    assert not is_accepted(extension=deep)


def test_nothing_is_doubted_about_the_usual_row():
    job = offer(notes=NOTE, effective_date=DATE, extension={"a": 1}, kind="charge")
    assert OFFER_STATUS.warn(job) == ()


# ------------------------------------------------------------------------------------ requests

# The body of OFFERS' example; its blanks and line ends carry no meaning.
SAMPLE_BODY = """
{
   "statusCode": "2",
   "chargeOffers": [
      {
         "ref": {
            "id": "0.0.0.1+-purchased_product+209130"
         }
      }
   ],
   "discountOffers": []
}
"""


def test_the_request_of_the_source():
    request = OFFER_STATUS.encode(SITE, (offer(),))
    assert (request.method, request.path) == ("PUT", "/statusupdate/offers")
    assert request.body.decode() == json.dumps(json.loads(SAMPLE_BODY), separators=(",", ":"))
    # the example names the first; SEND has both
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "Accept": "application/json",
    }


def test_a_status_as_a_number():
    # the schema of OFFERS says int32, its example the text "2": the example holds unless the
    # account says otherwise, since somebody has run it
    body = OFFER_STATUS.encode(site(auth="none", status_as="number"), (offer(),)).body
    assert body == OFFER_STATUS.encode(SITE, (offer(),)).body.replace(b'"2"', b"2")


def test_what_a_row_gives_beside_the_offer_follows_in_this_order():
    job = offer(offer_id=DISCOUNT, extension={"a": 1}, notes=NOTE, effective_date=DATE)
    assert OFFER_STATUS.encode(SITE, (job,)).body.decode() == (
        '{"statusCode":"2","chargeOffers":[],'
        '"discountOffers":[{"ref":{"id":"0.0.0.1+-purchased_discount+345678"}}],'
        '"effectiveDate":"2027-06-01T00:00:00+02:00",'
        '"notes":{"accountId":"0.0.0.1+-account+123123"},"extension":{"a":1}}'
    )


def test_text_travels_as_utf_8():
    job = offer(notes={**NOTE, "header": "Größe 漢字 🎁"})
    assert "Größe 漢字 🎁".encode() in OFFER_STATUS.encode(SITE, (job,)).body


# ------------------------------------------------------------------------------------ batches


@settings(max_examples=200)
@given(
    offers=st.lists(
        st.tuples(
            st.sampled_from(["purchased_product", "purchased_discount"]), st.integers(0, 2**63 - 1)
        ),
        min_size=1,
        max_size=50,
        unique=True,
    ),
    status=st.sampled_from(["active", "inactive"]),
    is_printed=st.booleans(),
)
def test_a_group_lists_every_offer_once_in_order(offers, status, is_printed):
    form = "0.0.0.1 /{} {} 3" if is_printed else "0.0.0.1+-{}+{}"
    jobs = [offer(offer_id=form.format(*each), status=status) for each in offers]
    assert {OFFER_STATUS.batch_key(SITE, job) for job in jobs} == {status}
    body = body_of(*jobs)
    assert list(body) == ["statusCode", "chargeOffers", "discountOffers"]
    for name, kind in (
        ("chargeOffers", "purchased_product"),
        ("discountOffers", "purchased_discount"),
    ):
        wanted = [f"0.0.0.1+-{each}+{n}" for each, n in offers if each == kind]
        assert body[name] == [{"ref": {"id": wanted_id}} for wanted_id in wanted]


REPEATABLE = [
    ({}, True),
    ({"status": "active"}, True),
    ({"kind": "charge"}, True),
    # all inferred: another note each time, what was rated changes, the site's own, final
    ({"notes": NOTE}, False),
    ({"effective_date": DATE}, False),
    ({"effective_date": "2999-01-01T00:00:00Z"}, False),  # no clock tells the future here
    ({"extension": {}}, False),
    ({"status": "canceled"}, False),
    ({"status": "3"}, False),
]


@pytest.mark.parametrize(("values", "is_repeatable"), REPEATABLE)
def test_what_may_be_repeated_and_so_share_a_request(values, is_repeatable):
    job = offer(**values)
    again = OfferStatus.trusted(job.canonical_json())
    for each in (job, again):
        assert OFFER_STATUS.repeatable(SITE, each) == is_repeatable
        assert OFFER_STATUS.batch_key(SITE, each) == (each.status if is_repeatable else "")


@pytest.mark.parametrize(
    ("status", "is_final"), [("active", False), ("inactive", False), ("3", True)]
)
def test_only_canceled_cannot_be_undone(status, is_final):
    assert OFFER_STATUS.irreversible(offer(status=status)) == is_final


def test_how_many_share_a_request_is_the_accounts_to_say():
    assert OFFER_STATUS.batch_size(SITE) == 1
    assert OFFER_STATUS.batch_size(site(auth="none", max_batch=50)) == 50


# ------------------------------------------------------------------------------------- replies

OK, NO, LATER, STOP, SLOW = (
    Verdict.OK,
    Verdict.REJECTED,
    Verdict.TRANSIENT,
    Verdict.FATAL,
    Verdict.THROTTLED,
)
SPLIT = Verdict.SPLIT
DONE, NONE, MAYBE = Effect.APPLIED, Effect.NONE, Effect.MAYBE
PAGE = b"<html><body>Sign in</body></html>"

REPLIES = [
    # status, body; verdict of one row and of a group; effect; code and a word of the hint
    # OFFERS: 200 with true
    (200, b"true", (OK, OK), DONE, ("", "")),
    (200, b" true\r\n", (OK, OK), DONE, ("", "")),
    (200, b"\xef\xbb\xbftrue", (OK, OK), DONE, ("", "")),
    # anything else with 200 is in no source
    (200, b"false", (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    (200, b"", (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    (200, b" \n", (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    (200, b'"true"', (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    (200, b"[true]", (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    (200, b'{"message": "no"}', (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    (202, b"", (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    # a page is not the vendor's, and says nothing of the rows
    (200, PAGE, (LATER, LATER), MAYBE, ("not_the_vendor", "proxy")),
    (200, b"Please sign in", (LATER, LATER), MAYBE, ("not_the_vendor", "proxy")),
    (200, b"TRUE", (LATER, LATER), MAYBE, ("not_the_vendor", "proxy")),
    # SEND has 204 for the interface as a whole; it has no body that could say true
    (204, b"", (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    (206, b"true", (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    (201, b"true", (LATER, SPLIT), MAYBE, ("not_confirmed", "harmless")),
    # an error that names its status is a refusal
    (200, b'{"status": 400, "message": "no"}', (NO, SPLIT), NONE, ("http_400", "correct the row")),
    (200, b'{"status": 500, "message": "no"}', (LATER, LATER), MAYBE, ("http_500", "harmless")),
    # OFFERS: an internal server error, whatever its cause
    (500, b"", (LATER, SPLIT), MAYBE, ("http_500", "check offer_id")),
    (500, PAGE, (LATER, SPLIT), MAYBE, ("http_500", "check offer_id")),
    (500, b"true", (LATER, SPLIT), MAYBE, ("http_500", "check offer_id")),
    # these and silence speak of no row
    (502, PAGE, (LATER, LATER), MAYBE, ("http_502", "harmless")),
    (503, b"", (LATER, LATER), MAYBE, ("http_503", "harmless")),
    (504, b"", (LATER, LATER), MAYBE, ("http_504", "harmless")),
    # SEND lists 400, 404, 405, 406 and 415 for the interface as a whole
    (400, b"", (NO, SPLIT), NONE, ("http_400", "correct the row")),
    (404, b"", (NO, SPLIT), NONE, ("http_404", "base_url")),
    (409, b"", (NO, SPLIT), NONE, ("http_409", "conflicts with")),
    (413, b"", (NO, SPLIT), NONE, ("http_413", "too large")),
    (422, b"true", (NO, SPLIT), NONE, ("http_422", "correct the row")),
    (401, b"", (STOP, STOP), NONE, ("http_401", "access_token")),
    (403, b"", (STOP, STOP), NONE, ("http_403", "may do")),
    (405, b"", (STOP, STOP), NONE, ("http_405", "base_url")),
    (406, b"", (STOP, STOP), NONE, ("http_406", "configuration")),
    (415, b"", (STOP, STOP), NONE, ("http_415", "base_url")),
    (408, b"", (LATER, LATER), NONE, ("http_408", "later")),
    (429, b"", (SLOW, SLOW), NONE, ("http_429", "quota")),
    (302, b"", (STOP, STOP), MAYBE, ("http_302", "redirects")),
]


@pytest.mark.parametrize(("status", "body", "verdicts", "effect", "told"), REPLIES)
def test_what_a_reply_means(status, body, verdicts, effect, told):
    (one, group), (code, hint) = verdicts, told
    jobs = (offer(), offer(offer_id=DISCOUNT), offer(offer_id="0.0.0.1+-purchased_product+7"))
    for batch, verdict in ((jobs[:1], one), (jobs[:2], group), (jobs, group)):
        answers = OFFER_STATUS.decode(SITE, batch, Reply(status, {}, body))
        assert len(answers) == len(batch)
        for answer in answers:
            assert (answer.verdict, answer.effect, answer.code) == (verdict, effect, code)
            assert answer.http_status == status
            assert hint in answer.hint


def test_a_body_cut_short_confirms_nothing():
    (answer,) = OFFER_STATUS.decode(SITE, (offer(),), Reply(200, {}, b"true", is_cut=True))
    assert (answer.verdict, answer.code) == (LATER, "not_confirmed")


@pytest.mark.parametrize(("arrived", "effect"), [(True, MAYBE), (False, NONE)])
def test_silence_speaks_of_no_row(arrived, effect):
    silence = NoReply("timeout", "no answer within 120 s", may_have_arrived=arrived)
    for count in (1, 3):
        answers = OFFER_STATUS.decode(SITE, (offer(),) * count, silence)
        assert [(a.verdict, a.effect) for a in answers] == [(LATER, effect)] * count


@pytest.mark.parametrize("status", [500, 503])
def test_the_hint_says_whether_sending_again_is_harmless(status):
    batch = (offer(), offer(notes=NOTE))
    plain, with_note = OFFER_STATUS.decode(SITE, batch, Reply(status, {}, b""))
    assert "sending the row again is harmless" in plain.hint
    assert "look at the offer in Billing Care first" in with_note.hint


WORDS = [
    # no source has the body of an error: the usual names
    ({}, b'{"message": "POID not found"}', "POID not found"),
    ({}, b'{"errorMessage": "POID\\nnot found", "errorCode": 7}', "POID not found"),
    ({}, b'{"error": {"message": "deep", "code": 7}}', "deep"),
    ({}, b'{"error": "invalid"}', "invalid"),
    ({}, b'{"error": {"code": 7}, "title": "Bad"}', "Bad"),
    ({}, b'{"message": 7, "detail": "d"}', "d"),
    ({}, b'{"message": " ", "detail": "d"}', "d"),
    # else what there is
    ({}, b'{"odd": 1}', 'HTTP 500 Internal Server Error: the reply reads: {"odd": 1}'),
    ({}, b"ERR_NO_MATCH", "HTTP 500 Internal Server Error: the reply reads: ERR_NO_MATCH"),
    ({}, b"", "HTTP 500 Internal Server Error"),
    # XML is shown as it is, a page is not
    ({}, b"<error><code>7</code></error>", "<error><code>7</code></error>"),
    ({}, b'<?xml version="1.0"?>\n<e>7</e>', '<?xml version="1.0"?> <e>7</e>'),
    ({}, PAGE, "HTTP 500 Internal Server Error: the reply is HTML or XML"),
    (
        {"content-type": "text/html"},
        b"<p>x</p>",
        "HTTP 500 Internal Server Error: the reply is HTML or XML",
    ),
]


@pytest.mark.parametrize(("headers", "body", "message"), WORDS)
def test_the_words_of_a_failure(headers, body, message):
    (answer,) = OFFER_STATUS.decode(SITE, (offer(),), Reply(500, headers, body))
    assert answer.message == message


def test_long_words_are_cut():
    body = json.dumps({"message": "x" * 10_000}).encode()
    (answer,) = OFFER_STATUS.decode(SITE, (offer(),), Reply(500, {}, body))
    assert len(answer.message) == 500


def test_a_wait_that_is_requested_is_kept():
    for status, count in ((429, 1), (429, 3), (503, 3), (500, 3)):
        reply = Reply(status, {"retry-after": "7"}, b"")
        answers = OFFER_STATUS.decode(SITE, (offer(),) * count, reply)
        assert {answer.retry_after_s for answer in answers} == {7.0}


# ------------------------------------------------------------------------------ accounts, entities

PAIR = {"client_id": "c", "client_secret": "s"}
USER = {"user": "u", "password": "p"}

ACCOUNTS = [
    # given, what is wrong
    ({**PAIR}, set()),
    ({"access_token": "t"}, set()),
    ({"auth": "bearer", **PAIR}, set()),
    ({"auth": "basic", **USER}, set()),
    ({"auth": "none"}, set()),
    # what is missing
    ({}, {"client_id", "client_secret"}),
    ({"client_id": "c"}, {"client_secret"}),
    ({"client_secret": "s"}, {"client_id"}),
    ({"auth": "basic"}, {"user", "password"}),
    ({"auth": "basic", "user": "u"}, {"password"}),
    ({"auth": "basic", "password": "p"}, {"user"}),
    # settings without effect
    ({**PAIR, "access_token": "t"}, {"access_token"}),
    ({"client_id": "c", "access_token": "t"}, {"access_token"}),
    ({**PAIR, **USER}, {"user", "password"}),
    ({"auth": "basic", **USER, **PAIR}, {"client_id", "client_secret"}),
    ({"auth": "basic", **USER, "access_token": "t"}, {"access_token"}),
    ({"auth": "none", **USER}, {"user", "password"}),
    ({"auth": "none", "access_token": "t"}, {"access_token"}),
    # other settings
    ({"auth": "none", "status_as": "number", "max_batch": 1000}, set()),
    ({"auth": "none", "max_batch": 0}, {"max_batch"}),
    ({"auth": "none", "max_batch": 1001}, {"max_batch"}),
    ({"auth": "none", "status_as": "xml"}, {"status_as"}),
    ({"auth": "digest"}, {"auth"}),
    ({"client_id": "", "client_secret": "s"}, {"client_id"}),
    ({"auth": "basic", "user": "", "password": "p"}, {"user"}),
    ({"auth": "none", "project_id": 1}, {"project_id"}),
]


@pytest.mark.parametrize(("values", "wrong"), ACCOUNTS)
def test_what_an_account_needs(values, wrong):
    found: dict[str, str] = {}
    try:
        site(**values)
    except ValidationError as error:
        found = {str(e["loc"][0]): e["msg"] for e in error.errors()}
    assert set(found) == wrong


def test_an_account_needs_an_address():
    with pytest.raises(ValidationError, match="base_url"):
        OracleSettings.model_validate({"auth": "none"})


def test_no_complaint_about_an_account_shows_a_secret():
    secret = "s-very-secret"
    with pytest.raises(ValidationError) as caught:
        site(auth="basic", client_id=secret, access_token=secret, password=secret)
    assert secret not in str(caught.value)


def test_a_token_is_requested_with_the_client():
    # TOKEN: GET with Basic client_id:client_secret
    call = VENDOR.authenticate(SITE)
    assert isinstance(call, TokenCall)
    assert call.base_url + call.request.path == f"{BASE_URL}/authentication/queryAccessToken"
    assert (call.request.method, call.request.body) == ("GET", b"")
    assert call.basic == Basic("c-very-secret", SecretStr("s-very-secret"))
    assert {secret.get_secret_value() for secret in call.secrets} == {
        "c-very-secret",
        "s-very-secret",
    }


def test_a_slash_after_the_address_is_not_doubled():
    call = VENDOR.authenticate(site(**PAIR, base_url=f"{BASE_URL}/"))
    assert isinstance(call, TokenCall)
    assert call.base_url == BASE_URL


def test_other_ways_to_sign_in():
    assert VENDOR.authenticate(site(access_token="t")) == Bearer(SecretStr("t"))
    assert VENDOR.authenticate(site(auth="basic", **USER)) == Basic("u", SecretStr("p"))
    assert VENDOR.authenticate(site(auth="none")) is None


TOKENS = [
    # TOKEN: access_token, token_type, expires_in, perhaps scope
    (
        b'{"access_token": "a.b-c", "token_type": "Bearer", "expires_in": 3600, "scope": "x"}',
        ("a.b-c", 3600.0),
    ),
    (b'{"access_token": "a", "token_type": "bearer", "expires_in": 0.5}', ("a", 0.5)),
    # a lifetime that is none is not known
    (b'{"access_token": "a"}', ("a", None)),
    (b'{"access_token": "a", "expires_in": "3600"}', ("a", None)),
    (b'{"access_token": "a", "expires_in": 0}', ("a", None)),
    (b'{"access_token": "a", "expires_in": -5}', ("a", None)),
    (b'{"access_token": "a", "expires_in": true}', ("a", None)),
    (b'{"access_token": "a", "expires_in": 1e999}', ("a", None)),
    (b'{"access_token": "a", "expires_in": 99999999999}', ("a", None)),
    # no token
    (b"", None),
    (b"true", None),
    (b"<token>a</token>", None),
    (b"{}", None),
    (b'{"access_token": ""}', None),
    (b'{"access_token": 7}', None),
    (b'{"access_token": null}', None),
    (b'{"access_token": "a b"}', None),
    (b'{"access_token": "a\\r\\nX-Evil: 1"}', None),
    (b'{"access_token": "\xc3\xa4"}', None),
    (b'{"access_token": "a", "token_type": "mac"}', None),
    (b'[{"access_token": "a"}]', None),
]


@pytest.mark.parametrize(("body", "expected"), TOKENS)
def test_the_token_of_a_reply(body, expected):
    call = VENDOR.authenticate(SITE)
    assert isinstance(call, TokenCall)
    token = call.read(Reply(200, {}, body))
    assert (token and (token.value.get_secret_value(), token.lifetime_s)) == expected


def test_rows_are_bound_and_encoded_without_the_credentials():
    accounts = [site(**PAIR), site(access_token="t"), site(auth="basic", **USER), site(auth="none")]
    job = offer()
    seen = {
        (
            OFFER_STATUS.encode(of, (job,)).body,
            str(dict(OFFER_STATUS.encode(of, (job,)).headers)),
            OFFER_STATUS.entity(of, job).text(),
        )
        for of in accounts
    }
    assert len(seen) == 1


def test_one_offer_has_one_key():
    written = [PRODUCT, "0.0.0.1 /purchased_product 209130 12"]
    urls = [BASE_URL, "HTTPS://Billing.Example.com:7002/other/v2.0/"]
    keys = {
        OFFER_STATUS.entity(site(auth="none", base_url=url), offer(offer_id=each, kind=kind))
        for each in written
        for url in urls
        for kind in ("charge", "discount")
    }
    assert keys == {("oracle", "https://billing.example.com:7002", "", "purchased-offer", PRODUCT)}


def test_another_server_or_port_is_another_offer():
    urls = ("https://a.example", "http://127.0.0.1:1", "http://127.0.0.1:2", "http://[::1]:1")
    accounts = [site(auth="none", base_url=f"{url}/v1.0") for url in urls]
    assert [OFFER_STATUS.entity(of, offer()).origin for of in accounts] == list(urls)
