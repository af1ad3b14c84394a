"""What every operation of every vendor must hold. A new file in the folder is tested unasked."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import ValidationError
from yarl import URL

from pipeline.model import (
    Answer,
    Cell,
    CellKind,
    Effect,
    NoReply,
    Reply,
    Request,
    UpdateJob,
    Verdict,
)
from pipeline.policy.quota import parse_quota
from pipeline.vendors import Operation, Vendor, load_vendors

OFFERED = [(v, o) for v in load_vendors().values() for o in v.operations]
for_each_operation = pytest.mark.parametrize(
    ("vendor", "operation"), OFFERED, ids=[operation.name for _, operation in OFFERED]
)

PLAIN = {CellKind.ID, CellKind.TEXT, CellKind.KEYWORD, CellKind.DATE}


# ------------------------------------------------------------- a job from the operation's sample


def cells(job_type: type[UpdateJob]) -> dict[str, Cell]:
    found = {}
    for name, field in job_type.model_fields.items():
        of_field = [mark for mark in field.metadata if isinstance(mark, Cell)]
        assert len(of_field) == 1, f"{name} needs one Cell"
        found[name] = of_field[0]
    return found


def value_of(cell: Cell, text: str) -> Any:
    """A cell as people write it, as a JSON value."""
    if text == "null":
        return None
    if cell.kind in PLAIN:
        return text
    if cell.short is not None and text[0] not in "[{":
        return cell.short(text)
    return json.loads(text)


def sample_values(operation: Operation) -> dict[str, Any]:
    of_type = cells(operation.job_type)
    values: dict[str, Any] = {}
    for column, text in operation.sample.items():
        name, dot, member = column.partition(".")
        cell = of_type[name]
        if dot:
            members = dict(cell.members)
            inner = members.get(member) or members["*"]
            values.setdefault(name, {})[member] = value_of(inner, text)
        else:
            values[name] = value_of(cell, text)
    return values


def sample_job(operation: Operation) -> UpdateJob:
    return operation.job_type.model_validate(sample_values(operation))


def settings_of(vendor: Vendor) -> Any:
    return vendor.settings.model_validate(
        {"base_url": "https://vendor.example:8443/api", **vendor.simulated}
    )


# ------------------------------------------------------------------------------- the checks


def check_names(vendor: Vendor, operation: Operation) -> None:
    assert operation.name.startswith(f"{vendor.name}.")
    assert operation.summary
    assert vendor.summary
    assert operation.entity_kind


def check_defaults_can_be_used(_vendor: Vendor, operation: Operation) -> None:
    assert all(parse_quota(quota).limit for quota in operation.defaults.quota)
    assert operation.defaults.quota
    assert operation.defaults.in_flight >= 1
    assert operation.defaults.timeout_s > 0


def check_every_field_is_explained(_vendor: Vendor, operation: Operation) -> None:
    for name, cell in cells(operation.job_type).items():
        inner = {f"{name}.{key}": member for key, member in cell.members}
        for shown, one in {name: cell, **inner}.items():
            assert one.help, shown
            assert one.example, shown
            assert one.help.isprintable(), shown
    assert set(operation.always) <= set(operation.job_type.model_fields)
    examples = {
        name: value_of(cell, cell.example) for name, cell in cells(operation.job_type).items()
    }
    assert operation.job_type.model_validate(examples).model_fields_set == set(examples)


def check_sample_is_whole_and_right(vendor: Vendor, operation: Operation) -> None:
    values = sample_values(operation)
    assert set(values) == set(operation.job_type.model_fields)
    for name, cell in cells(operation.job_type).items():
        if cell.kind is CellKind.OBJECT and name not in operation.sample:
            assert set(values[name]) == {key for key, _ in cell.members}
    job = sample_job(operation)
    assert operation.refuse(settings_of(vendor), job) is None
    assert operation.warn(job) == ()


def check_job_and_text_never_differ(vendor: Vendor, operation: Operation) -> None:
    job = sample_job(operation)
    again = operation.job_type.trusted(job.canonical_json())
    assert again == job
    assert again.canonical_json() == job.canonical_json()
    settings = settings_of(vendor)
    assert operation.encode(settings, (again,)) == operation.encode(settings, (job,))
    # what was read once is not changed by being read again
    assert operation.job_type.model_validate(job.given()) == job


def check_request_is_one_that_can_be_sent(vendor: Vendor, operation: Operation) -> None:
    settings = settings_of(vendor)
    request = operation.encode(settings, (sample_job(operation),))
    assert isinstance(request, Request)
    assert request.method in {"PUT", "PATCH", "POST"}
    assert is_sent_as_it_stands(request.path)
    headers = {name.lower(): text for name, text in request.headers.items()}
    assert request.body
    assert "json" in headers["content-type"]
    assert json.loads(request.body.decode("utf-8"))
    assert "authorization" not in headers


def check_no_credential_in_sight(vendor: Vendor, operation: Operation) -> None:
    settings = settings_of(vendor)
    secret = vendor.authenticate(settings).password.get_secret_value()
    request = operation.encode(settings, (sample_job(operation),))
    assert secret
    for shown in (repr(settings), str(request), repr(vendor.authenticate(settings))):
        assert secret not in shown


def is_sent_as_it_stands(path: str) -> bool:
    parts = urlsplit(f"https://vendor.example{path}")
    as_given = URL(f"https://vendor.example{path}", encoded=True)
    return (
        path.startswith("/")
        and path.isascii()
        and (parts.path, parts.query, parts.fragment) == (path, "", "")
        and as_given.raw_path == path
        and ".." not in path.split("/")
    )


HOSTILE_IDS = [
    "../../x?y#z",
    "a/b",
    "a%2Fb",
    "a b",
    "a+b",
    "a;b=c",
    "a&b",
    "//evil.example/",
    "@evil.example",
    "\\..\\",
    "äöü-漢字-🎁",
    "a\u0301",
    "\u00e1",
    "A",
    "a",
    "%2e%2e",
    "0",
    "00",
    "007",
    "7",
    "18446744073709551616",
    "-1",
]


def jobs_with_hostile_ids(operation: Operation) -> Iterator[tuple[str, UpdateJob]]:
    """Jobs whose first id is one of the hostile ones; an id that the type refuses harms nobody."""
    id_field = next(n for n, c in cells(operation.job_type).items() if c.kind is CellKind.ID)
    for text in HOSTILE_IDS:
        values = {**sample_values(operation), id_field: text}
        try:
            job = operation.job_type.model_validate(values)
        except ValidationError:
            continue
        yield str(job.given()[id_field]), job


def check_an_id_is_one_segment(vendor: Vendor, operation: Operation) -> None:
    settings = settings_of(vendor)
    usual = operation.encode(settings, (sample_job(operation),)).path.split("/")
    seen = 0
    for wanted, job in jobs_with_hostile_ids(operation):
        path = operation.encode(settings, (job,)).path
        segments = path.split("/")
        assert is_sent_as_it_stands(path), path
        assert len(segments) == len(usual), path
        changed = [new for new, old in zip(segments, usual, strict=True) if new != old]
        assert [unquote(segment) for segment in changed] == [wanted]
        seen += 1
    assert seen


def check_entities_are_told_apart(vendor: Vendor, operation: Operation) -> None:
    settings = settings_of(vendor)
    jobs = list(jobs_with_hostile_ids(operation))
    keys = {wanted: operation.entity(settings, job) for wanted, job in jobs}
    for key in keys.values():
        assert (key.vendor, key.kind) == (vendor.name, operation.entity_kind)
        assert key.origin == "https://vendor.example:8443"
    assert len({key.text() for key in keys.values()}) == len(keys)
    # what goes to one address is one entity, and the other way round
    paths = {operation.encode(settings, (job,)).path for _, job in jobs}
    assert len(paths) == len(keys)


def check_repeating_is_decided(vendor: Vendor, operation: Operation) -> None:
    assert operation.repeatable(settings_of(vendor), sample_job(operation)) in {True, False}


BODIES = [
    b"",
    b" ",
    b"{}",
    b"[]",
    b"null",
    b"0",
    b'"text"',
    b"NaN",
    b"<html><body>Bad gateway</body></html>",
    b"upstream connect error",
    b"\x00\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"a": 1',
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b"9" * 10_000,
    b'{"errorCode": "x", "errorMessage": ["a"], "transactionId": {}, "statusCode": null}',
    b'{"errorCode": true, "errorMessage": null, "errorMessageExtended": [1, null, {}]}',
    b'{"errorCode": 1e999, "errorMessage": "\\ud800 \\u0000", "transactionId": 12}',
    b'{"errorCode": -1, "errorMessage": "", "errorMessageExtended": {"property": 1}}',
    b'{"errorMessage": "' + b"[0401-1102]: " * 20_000 + b'"}',
    b'{"errorMessage": "' + b" " * 100_000 + b'", "transactionId": "' + b"y" * 9_999 + b'"}',
]
HEADERS: list[Mapping[str, str]] = [
    {},
    {"content-type": "text/html", "retry-after": "7", "location": "https://elsewhere.example/"},
    {"content-type": "application/json", "retry-after": "soon", "location": "\r\nx"},
]
NO_REPLIES = [
    NoReply(reason, "words", may_have_arrived=arrived, is_permanent=permanent)
    for reason in ("connect_failed", "tls_failed", "timeout", "broken_reply", "something_new")
    for arrived in (False, True)
    for permanent in (False, True)
]


def check_answer_is_consistent(answer: Answer) -> None:
    assert isinstance(answer, Answer)
    assert isinstance(answer.verdict, Verdict)
    assert isinstance(answer.effect, Effect)
    is_ok = answer.verdict is Verdict.OK
    assert is_ok == (answer.effect is Effect.APPLIED)
    assert is_ok == (answer.code == "")
    if answer.verdict in {Verdict.THROTTLED, Verdict.REJECTED}:
        assert answer.effect is Effect.NONE
    if not is_ok:
        assert answer.message
        assert answer.hint
    texts = (answer.code, answer.message, answer.hint, answer.request_id)
    assert all(isinstance(text, str) and len(text) < 1_000 for text in texts)
    assert all(text == "" or text.isprintable() for text in texts)
    assert answer.retry_after_s is None or (
        answer.retry_after_s >= 0 and math.isfinite(answer.retry_after_s)
    )


def check_status_has_the_last_word(status: int, answer: Answer) -> None:
    """`none` only of a 4xx, `applied` only of a 2xx, whatever the body says."""
    assert answer.http_status == status
    if status == 429:
        assert answer.verdict is Verdict.THROTTLED
    if status == 204:
        assert answer.verdict is Verdict.OK
    allowed = {2: {Effect.APPLIED, Effect.MAYBE}, 4: {Effect.NONE}}
    assert answer.effect in allowed.get(status // 100, {Effect.MAYBE})


def check_any_reply_has_an_answer(vendor: Vendor, operation: Operation) -> None:
    settings, job = settings_of(vendor), sample_job(operation)
    for status in range(100, 600):
        for n, headers in enumerate(HEADERS):
            body = b"" if status == 204 else BODIES[(status + n) % len(BODIES)]
            check_reply(operation, settings, job, Reply(status, headers, body))
    for status in (200, 302, 400, 404, 422, 429, 500, 503):
        for body in BODIES:
            check_reply(operation, settings, job, Reply(status, {}, body))


def check_reply(operation, settings, job, reply: Reply) -> None:
    for is_cut in (False, True):
        answers = operation.decode(settings, (job,), reply._replace(is_cut=is_cut))
        assert len(answers) == 1
        check_answer_is_consistent(answers[0])
        check_status_has_the_last_word(reply.status, answers[0])


def check_no_reply_has_an_answer(vendor: Vendor, operation: Operation) -> None:
    settings, job = settings_of(vendor), sample_job(operation)
    for no_reply in NO_REPLIES:
        (answer,) = operation.decode(settings, (job,), no_reply)
        check_answer_is_consistent(answer)
        assert answer.http_status is None
        assert answer.effect is (Effect.MAYBE if no_reply.may_have_arrived else Effect.NONE)
        assert answer.verdict is (Verdict.FATAL if no_reply.is_permanent else Verdict.TRANSIENT)


def check_one_answer_for_each_job(vendor: Vendor, operation: Operation) -> None:
    settings, job = settings_of(vendor), sample_job(operation)
    for reply in (Reply(204, {}, b""), Reply(500, {}, b""), NO_REPLIES[0]):
        for count in (1, 3):
            assert len(operation.decode(settings, (job,) * count, reply)) == count


CHECKS: list[Callable[[Vendor, Operation], None]] = [
    check_names,
    check_defaults_can_be_used,
    check_every_field_is_explained,
    check_sample_is_whole_and_right,
    check_job_and_text_never_differ,
    check_request_is_one_that_can_be_sent,
    check_no_credential_in_sight,
    check_an_id_is_one_segment,
    check_entities_are_told_apart,
    check_repeating_is_decided,
    check_any_reply_has_an_answer,
    check_no_reply_has_an_answer,
    check_one_answer_for_each_job,
]


@for_each_operation
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_operation_holds_the_contract(vendor, operation, check):
    check(vendor, operation)


def test_names_are_not_given_twice():
    names = [operation.name for _, operation in OFFERED]
    assert names
    assert len(set(names)) == len(names)


# ------------------------------------------------------------- the suite finds what is broken


def broken(operation: Operation, **changed: Any) -> Operation:
    return dataclasses.replace(operation, **changed)


def joined_without_care(settings: Any, batch: Any) -> Request:
    """What a careless vendor file would send: the id as it stands."""
    job = batch[0].given()
    name = next(n for n, c in cells(type(batch[0])).items() if c.kind is CellKind.ID)
    return Request("PUT", f"/things/{job[name]}", b"{}", {"Content-Type": "application/json"})


def an_answer(verdict: Verdict, effect: Effect) -> Callable[..., tuple[Answer, ...]]:
    def decode(_settings: Any, batch: Any, reply: Any) -> tuple[Answer, ...]:
        status = reply.status if isinstance(reply, Reply) else None
        return (Answer(verdict, effect, status, "code", "words", "hint"),) * len(batch)

    return decode


SABOTAGE = [
    # an id with a slash becomes two segments
    (check_an_id_is_one_segment, {"encode": joined_without_care}),
    # a 5xx that claims to have done nothing
    (check_any_reply_has_an_answer, {"decode": an_answer(Verdict.TRANSIENT, Effect.NONE)}),
    # a refused connection that may have done something
    (check_no_reply_has_an_answer, {"decode": an_answer(Verdict.TRANSIENT, Effect.MAYBE)}),
    # no answer at all
    (check_one_answer_for_each_job, {"decode": lambda _s, _b, _r: ()}),
    # a sample that leaves a field out
    (check_sample_is_whole_and_right, {"sample": {"external_id": "x", "name.en-US": "x"}}),
    # a field that there is not
    (check_every_field_is_explained, {"always": ("no_such_field",)}),
    # a quota that nobody can read
    (check_names, {"name": "other.thing"}),
]


@pytest.mark.parametrize(
    ("check", "changed"), SABOTAGE, ids=lambda part: getattr(part, "__name__", "")
)
def test_the_suite_finds_what_is_broken(check, changed):
    vendor, operation = next((v, o) for v, o in OFFERED if o.name == "xsolla.coupon")
    with pytest.raises(AssertionError):
        check(vendor, broken(operation, **changed))


def test_entities_that_are_not_told_apart_are_found():
    vendor, operation = next((v, o) for v, o in OFFERED if o.name == "xsolla.coupon")

    def folded(settings: Any, job: Any) -> Any:
        key = operation.entity(settings, job)
        return key._replace(id=key.id.casefold())

    with pytest.raises(AssertionError):
        check_entities_are_told_apart(vendor, broken(operation, entity=folded))
