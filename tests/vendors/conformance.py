"""What every operation of every vendor must hold: checks that say in words what is broken.

A check takes a vendor and one of its operations and raises AssertionError. The wire checks at the
end send a row; they hold for vendors that the simulator emulates.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio.to_thread
from aiohttp import ClientSession, encode_basic_auth
from pydantic import SecretStr, ValidationError
from yarl import URL

from pipeline.config import load_config
from pipeline.config.secrets import secret_keys
from pipeline.jobs import read_jobs
from pipeline.jobs.jobs_file import encodes_with
from pipeline.loader import bind, ingest
from pipeline.model import (
    Answer,
    Cell,
    CellKind,
    Effect,
    InputError,
    InputSettings,
    JobRow,
    Link,
    NoReply,
    Reply,
    Request,
    RowResult,
    Status,
    UpdateJob,
    Verdict,
)
from pipeline.model.quota import parse_quota
from pipeline.model.retry import RetryPolicy
from pipeline.model.wire import header_fault
from pipeline.reporter import Summary
from pipeline.run import RunEnvironment, carry_out, prepare
from pipeline.runs import RunOptions
from pipeline.simulator import serve
from pipeline.simulator.vendors import VENDORS as EMULATED
from pipeline.vendors import Account, Basic, Bearer, Token, TokenCall
from pipeline.vendors.kit.classify import Confirmation
from pipeline.vendors.kit.contract import MISSING, Difference, State
from tests.vendors.specimens import (
    BODIES,
    ERROR_BODIES,
    HOSTILE_IDS,
    LONG_BODIES,
    LOST_TURN,
    NO_REPLIES,
    ORIGIN,
    TOKENS,
    USUAL,
    AnyOperation,
    AnyVendor,
    batches_of,
    carried,
    cells_of,
    csv_file,
    examples,
    id_field,
    is_sent_as_it_stands,
    job_of,
    jobs_by_id,
    jobs_of,
    least,
    neighbours,
    opaque_rows,
    place_of,
    replies,
    sample_job,
    sample_values,
    scalars,
    secrets_of,
    settings_of,
    texts,
    told,
    variants,
)

# ----------------------------------------------------------------------------- the pure checks


def check_names(vendor: AnyVendor, operation: AnyOperation) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]*", vendor.name), f"{vendor.name!r} cannot name a table"
    what = operation.name.removeprefix(f"{vendor.name}.")
    assert what != operation.name, f"{operation.name} does not start with {vendor.name}."
    assert re.fullmatch(r"[a-z][a-z0-9-]*", what), f"{operation.name} cannot name a folder"
    for name, text in {
        "the vendor's summary": vendor.summary,
        "summary": operation.summary,
        "repeat_note": operation.repeat_note,
        "entity_kind": operation.entity_kind,
    }.items():
        assert text, f"{name} is empty"
        assert text.isprintable(), f"{name} is not one line"
    assert "|" not in operation.entity_kind, "entity_kind holds the sign that parts a key"


def check_defaults_can_be_used(_vendor: AnyVendor, operation: AnyOperation) -> None:
    defaults = operation.defaults
    assert defaults.quota, "no default quota"
    check_quotas_can_be_read(defaults.quota)
    assert defaults.in_flight >= 1, "in_flight allows nothing"
    assert 0 < defaults.timeout_s < math.inf, f"timeout_s is {defaults.timeout_s}"


def check_quotas_can_be_read(quotas: tuple[str, ...]) -> None:
    for text in quotas:
        try:
            parse_quota(text)
        except ValueError as error:
            raise AssertionError(f"the quota {text!r}: {error}") from error


def check_every_field_is_explained(_vendor: AnyVendor, operation: AnyOperation) -> None:
    cells = cells_of(operation.job_type)
    explained: dict[str, Cell] = {}
    for name, cell in cells.items():
        inner = {k if cell.is_spread else f"{name}.{k}": member for k, member in cell.members}
        own = {} if cell.is_spread else {name: cell}
        for shown, one in (own | inner).items():
            assert one.help, f"{shown} has no help"
            assert one.example, f"{shown} has no example"
            assert one.help.isprintable(), f"the help of {shown} is not one line"
            assert shown not in explained, f"{shown} is the column of two fields"
            explained[shown] = one
        if cell.is_spread:
            assert cell.kind is CellKind.MAP, f"{name} is spread and no MAP"
            assert inner, f"{name} is spread and has no members: no column is for it"
            assert not [m for m in inner if "*" in m[:-1] or m == "*"], f"{name}: a * stands alone"
    unknown = set(operation.always) - set(operation.job_type.model_fields)
    assert not unknown, f"`always` names {unknown}, which is no field"
    of_all = dict(examples(operation))
    for name, value in examples(operation):
        values = {**of_all, name: value}
        try:
            job = operation.job_type.model_validate(values)
        except ValidationError as error:
            raise AssertionError(f"the example of {name}, {value!r}: {error}") from error
        assert job.model_fields_set == set(values)


def check_sample_is_whole_and_right(vendor: AnyVendor, operation: AnyOperation) -> None:
    values = sample_values(operation)
    settings = settings_of(vendor)
    missing = set(operation.job_type.model_fields) - set(values)
    missing -= {
        name
        for name, value in examples(operation)
        if (job := job_of(operation, {**values, name: value})) and operation.refuse(settings, job)
    }  # what this account may not give
    assert not missing, f"the sample leaves out {missing}"
    for name, cell in cells_of(operation.job_type).items():
        if cell.kind is CellKind.OBJECT and name not in operation.sample:
            left_out = {key for key, _ in cell.members} - set(values[name])
            assert not left_out, f"the sample leaves out {left_out} of {name}"
    try:
        job = sample_job(operation)
    except ValidationError as error:
        raise AssertionError(f"the sample is no job: {error}") from error
    assert (why := operation.refuse(settings_of(vendor), job)) is None, f"it is refused: {why}"
    assert (words := operation.warn(job)) == (), f"the sample is doubtful: {words}"
    assert not operation.irreversible(job), "the sample cannot be taken back"


def check_sample_can_be_loaded(vendor: AnyVendor, operation: AnyOperation) -> None:
    """A file with the sample in it becomes the job that the suite builds by hand."""
    settings = settings_of(vendor)
    with TemporaryDirectory() as folder:
        try:
            jobs, faults = loaded(vendor, operation, settings, Path(folder), operation.sample)
        except InputError as error:
            raise AssertionError(f"the loader refuses the sample: {error}") from error
    assert not faults, f"the loader refuses the sample: {faults[0].error}"
    job = sample_job(operation)
    by_hand = JobRow(
        row=1,
        operation=operation.name,
        entity=operation.entity(settings, job).text(),
        is_repeatable=operation.repeatable(settings, job),
        text=job.canonical_json(),
        batch=operation.batch_key(settings, job),
    )
    jobs = [each._replace(path=None, body=None) for each in jobs]  # other checks are about these
    assert jobs == [by_hand], f"the loader makes {jobs} of the sample, not {by_hand}"


def check_opaque_cells_decide_nothing(vendor: AnyVendor, operation: AnyOperation) -> None:
    """Rows that differ in such cells only are bound together; the jobs are those of each alone."""
    rows = opaque_rows(operation)
    if not rows:
        return
    settings = settings_of(vendor)
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        apart = loaded(vendor, operation, settings, Path(one), *rows, by_columns=False)
        together = loaded(vendor, operation, settings, Path(other), *rows, by_columns=True)
    for job, expected in zip(*(found[0] for found in (together, apart)), strict=False):
        assert job == expected, (
            f"a cell decides although it is declared opaque: of {rows[job.row - 1]} becomes "
            f"{expected} alone, and {job} beside rows that differ in opaque cells"
        )
    assert together == apart, "a cell decides if a row becomes a job although it is opaque"


def loaded(
    vendor: AnyVendor,
    operation: AnyOperation,
    settings: Any,
    folder: Path,
    *rows: Mapping[str, str],
    by_columns: bool = True,
) -> tuple[list[JobRow], list[RowResult]]:
    account = Account(
        name="main",
        vendor=vendor,
        settings=settings,
        link=Link(base_url=settings.base_url),
        quotas=(parse_quota("10/s"),),
        is_assumed=True,
        in_flight=1,
        retry=RetryPolicy(),
    )
    faults: list[RowResult] = []
    bound = bind(
        ingest(csv_file(folder, *rows), folder / "snapshot.parquet"),
        folder,
        operations={operation.name: operation},
        accounts={account.name: account},
        inputs={operation.name: InputSettings()},
        operation=operation.name,
        folder_operation=None,
        account=account.name,
        timezone=None,
        force_order=False,
        allow_irreversible=len(rows) > 1,
        emit=faults.extend,
        by_columns=by_columns,
    )
    digest = encodes_with(account)
    jobs = [
        row
        for file in bound.jobs.values()
        for some in read_jobs(file.path, encodes_with=digest)
        for row in some
    ]
    return jobs, faults


def check_job_and_text_never_differ(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings = settings_of(vendor)
    for job in jobs_of(operation, settings):
        text = job.canonical_json()
        again = operation.job_type.trusted(text)
        assert again == job, f"not the same after its way through text: {text}"
        assert again.canonical_json() == text, f"the text changes on its way: {text}"
        assert operation.encode(settings, (again,)) == operation.encode(settings, (job,)), (
            f"another request after the way through text: {text}"
        )
        twice = job_of(operation, job.given())
        assert twice is not None, f"what was read once is refused when read again: {text}"
        assert twice.canonical_json() == text, f"what was read once changes when read again: {text}"


def check_request_can_be_sent(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings = settings_of(vendor)
    for job in jobs_of(operation, settings):
        request = operation.encode(settings, (job,))
        assert isinstance(request, Request), f"encode gives a {type(request).__name__}"
        assert request.method in {"PUT", "PATCH", "POST"}, f"{request.method} is no update"
        assert is_sent_as_it_stands(request.path), f"the path is not encoded: {request.path}"
        names = [name.lower() for name in request.headers]
        assert len(set(names)) == len(names), f"a header stands there twice: {names}"
        for name, value in request.headers.items():
            shown = "X-Type" if name.lower() == "content-type" else name
            assert header_fault(shown, value) is None, header_fault(shown, value)
        kind = {name.lower(): text for name, text in request.headers.items()}.get("content-type")
        assert kind, "no Content-Type"
        assert "json" in kind, f"the Content-Type is {kind}"
        try:
            assert json.loads(request.body.decode("utf-8")), "the body holds nothing"
        except ValueError as error:
            raise AssertionError(f"the body is no JSON: {request.body!r}") from error


def check_the_head_is_that_of_a_request(vendor: AnyVendor, operation: AnyOperation) -> None:
    """The path and body of a job sent alone are kept; its method and headers come from `head`."""
    if operation.head is None:
        return
    settings = settings_of(vendor)
    head = operation.head(settings)
    requests = [operation.encode(settings, (job,)) for job in jobs_of(operation, settings)]
    heads = [(request.method, request.headers) for request in requests]
    assert head in heads, f"no request has the head {head}, as {heads[0]} does not"


SHOWS_WHO_ASKS = {"x-api-key"}
"""Headers that may hold a secret of the settings; what shows a request to people hides them."""


def check_no_credential_in_sight(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, job = settings_of(vendor), sample_job(operation)
    authentication = vendor.authenticate(settings)
    request = operation.encode(settings, (job,))
    headers = {n: v for n, v in request.headers.items() if n.lower() not in SHOWS_WHO_ASKS}
    shown = {
        "repr of the settings": repr(settings),
        "the settings as JSON": settings.model_dump_json(),
        "repr of what authenticate gives": repr(authentication),
        "the scope": vendor.scope(settings),
        "the entity": operation.entity(settings, job).text(),
        "the batch key": operation.batch_key(settings, job),
        "the request": repr((request.path, request.body, headers)),
    }
    passwords = [each.get_secret_value() for each in hidden_in(authentication)]
    assert all(passwords), "authenticate gives an empty secret"
    for name, secret in [*secrets_of(settings).items(), *(("password", p) for p in passwords)]:
        for where, text in shown.items():
            assert secret not in text, f"{where} shows {name}"


def hidden_in(authentication: Any) -> list[SecretStr]:
    match authentication:
        case Basic(password=secret) | Bearer(token=secret):
            return [secret]
        case TokenCall(basic=basic, secrets=secrets):
            return [*secrets, *([basic.password] if basic else [])]
    return []


def check_secrets_decide_nothing(vendor: AnyVendor, operation: AnyOperation) -> None:
    """While rows are bound, secrets hold a placeholder."""
    bound, sent = settings_of(vendor, secret="placeholder"), settings_of(vendor, secret="real")
    assert vendor.scope(bound) == vendor.scope(sent), "a secret changes the scope"
    assert operation.batch_size(bound) == operation.batch_size(sent), "a secret changes batch_size"
    for job in jobs_of(operation, sent):
        for name in ("entity", "refuse", "repeatable", "batch_key", "writes"):
            decide = getattr(operation, name)
            assert decide(bound, job) == decide(sent, job), f"a secret changes {name}"
        first, second = (operation.encode(s, (job,)) for s in (bound, sent))
        assert first[:3] == second[:3], "a secret changes method, path or body"


def check_signing_in_is_decided(vendor: AnyVendor, _operation: AnyOperation) -> None:
    settings = settings_of(vendor)
    found = vendor.authenticate(settings)
    assert isinstance(found, Basic | Bearer | TokenCall | None), (
        f"authenticate gives a {type(found).__name__}"
    )
    if not isinstance(found, TokenCall):
        return
    url = urlsplit(found.base_url)
    is_loopback = url.hostname in {"localhost", "127.0.0.1", "::1"}
    assert url.scheme == "https" or is_loopback, (
        f"credentials would go to {found.base_url} in clear"
    )
    assert url.hostname, f"there is no host in {found.base_url!r}"
    assert not found.base_url.endswith("/"), "the base URL of the token call ends in a slash"
    assert is_sent_as_it_stands(found.request.path), f"the token's path: {found.request.path}"
    for name, value in found.request.headers.items():
        assert name.lower() != "authorization", "the token call sets Authorization: use `basic`"
        fault = None if name.lower() == "content-type" else header_fault(name, value)
        assert fault is None, f"the token call {fault}"
    check_quotas_can_be_read(found.quota)
    listed = {each.get_secret_value() for each in found.secrets}
    for name, secret in secrets_of(settings).items():
        assert secret not in str(found.request) or secret in listed, (
            f"the token call holds {name}, and `secrets` does not list it"
        )
    for status in (200, 201, 400, 500):
        for body in [*BODIES, *TOKENS]:
            check_token(found.read, Reply(status, {}, body))


def check_token(read: Callable[[Reply], Token | None], reply: Reply) -> None:
    try:
        token = read(reply)
    except Exception as error:
        raise AssertionError(f"reading the token raises {error!r} at {told(reply)}") from error
    if token is None:
        return
    value, lifetime_s = token.value.get_secret_value(), token.lifetime_s
    assert value, f"an empty token at {told(reply)}"
    assert header_fault("X-Token", value) is None, f"no header can carry the token of {told(reply)}"
    assert lifetime_s is None or 0 < lifetime_s < math.inf, (
        f"a token that lives {lifetime_s} s at {told(reply)}"
    )


def check_an_id_reaches_the_vendor_alone(vendor: AnyVendor, operation: AnyOperation) -> None:
    """As one segment of the path, percent-encoded, or as one text of the body."""
    settings = settings_of(vendor)
    well_formed = neighbours(operation)
    for other, jobs in jobs_by_id(operation, settings, [*well_formed, *HOSTILE_IDS]):
        usual = operation.encode(settings, (other,))
        for text, job in jobs:
            request = operation.encode(settings, (job,))
            wanted = operation.entity(settings, job).id
            assert is_sent_as_it_stands(request.path), f"not encoded: {request.path}"
            found = carried(request, usual)
            assert found == [wanted], f"{wanted!r} reaches the vendor as {found}"
            assert wanted == text or text not in well_formed, f"{text} became {wanted}"


def check_entities_are_distinguished(vendor: AnyVendor, operation: AnyOperation) -> None:
    """What is addressed alike is one entity, and the other way round."""
    settings = settings_of(vendor)
    entities: defaultdict[tuple[Any, ...], set[str]] = defaultdict(set)
    addresses: defaultdict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for other, jobs in jobs_by_id(operation, settings, [*neighbours(operation), *HOSTILE_IDS]):
        usual = operation.encode(settings, (other,))
        for _, job in jobs:
            request = operation.encode(settings, (job,))
            in_body = tuple((texts(request) - texts(usual)).elements())
            address = request.method, request.path, in_body
            key = operation.entity(settings, job).text()
            entities[address].add(key)
            addresses[key].add(address)
    assert len(addresses) > 1, "there is one entity only"
    for where, keys in entities.items():
        assert len(keys) == 1, f"one address, {where}, several entities: {keys}"
    for key, found in addresses.items():
        assert len(found) == 1, f"one entity, {key}, several addresses: {found}"


def check_entities_have_whole_keys(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings = settings_of(vendor)
    for job in jobs_of(operation, settings):
        key = operation.entity(settings, job)
        assert key.vendor == vendor.name, f"the entity is {key.vendor}'s"
        assert key.kind == operation.entity_kind, f"the entity's kind is {key.kind}"
        assert key.origin == ORIGIN, f"the entity's origin is {key.origin}, not {ORIGIN}"
        assert key.id, "the entity has no id"
        for name, part in zip(key._fields[:-1], key, strict=False):
            assert "|" not in part, f"the entity's {name} holds the sign that parts a key: {part}"
    spelt = ("https://vendor.example/api", "HTTPS://Vendor.Example:443/api")
    same = {operation.entity(settings_of(vendor, base_url=url), job).text() for url in spelt}
    assert len(same) == 1, f"one base URL in two spellings, two entities: {same}"


def check_functions_are_pure(vendor: AnyVendor, operation: AnyOperation) -> None:
    """The same for the same, of the type that is promised, and nothing that is given changes."""
    settings = settings_of(vendor)
    for values in variants(operation):
        if tried := job_of(operation, values):
            why = operation.refuse(settings, tried)
            assert why is None or (isinstance(why, str) and why), f"refuse gives {why!r}"
    for job in jobs_of(operation, settings):
        before = job.canonical_json(), settings.model_copy(deep=True)
        twin = operation.job_type.trusted(before[0])
        first, second = (decisions(operation, settings, each) for each in (job, twin))
        for name, found in first.items():
            assert found == second[name], f"{name} gives {found}, then {second[name]}"
        for name in ("repeatable", "irreversible"):
            assert isinstance(first[name], bool), (
                f"{name} gives {first[name]!r}, neither yes nor no"
            )
        words = first["warn"]
        assert isinstance(words, tuple), f"warn gives {words!r}"
        assert all(isinstance(text, str) and text for text in words), f"warn gives {words!r}"
        for reply in (*USUAL, *NO_REPLIES):
            answers = operation.decode(settings, (job,), reply)
            again = operation.decode(settings, (twin,), reply)
            assert answers == again, f"{told(reply)} means {answers}, then {again}"
        assert (job.canonical_json(), settings) == before, "what was given is not the same any more"


def decisions(operation: AnyOperation, settings: Any, job: UpdateJob) -> dict[str, Any]:
    return {
        "entity": operation.entity(settings, job),
        "encode": operation.encode(settings, (job,)),
        "repeatable": operation.repeatable(settings, job),
        "refuse": operation.refuse(settings, job),
        "irreversible": operation.irreversible(job),
        "batch_key": operation.batch_key(settings, job),
        "batch_size": operation.batch_size(settings),
        "writes": operation.writes(settings, job),
        "warn": operation.warn(job),
    }


# -------------------------------------------------------------------------------- batches


def check_batches_can_be_sent(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings = settings_of(vendor)
    size = operation.batch_size(settings)
    assert type(size) is int, f"batch_size is {size!r}"
    assert size >= 1, f"batch_size is {size}"
    for job in jobs_of(operation, settings):
        key = operation.batch_key(settings, job)
        assert isinstance(key, str), f"batch_key is {key!r}"
        assert not key or operation.repeatable(settings, job), (
            f"batch_key is {key!r}, but the job may not be repeated: {job.canonical_json()}"
        )
    batches = batches_of(vendor, operation)
    assert batches or size == 1, f"batch_size is {size}, but no two jobs have one batch_key"
    for batch in batches:
        request = operation.encode(settings, batch)
        assert is_sent_as_it_stands(request.path), f"not encoded: {request.path}"
        assert request == operation.encode(settings, batch), "encode gives two requests for a batch"
        wanted = Counter(operation.entity(settings, job).id for job in batch)
        held = texts(request)
        assert {each: held[each] for each in wanted} == wanted, (
            f"of {dict(wanted)} the request of a batch holds {request.body!r}"
        )
        alone = [operation.encode(settings, (job,)) for job in batch]
        assert {one[:2] for one in alone} == {request[:2]}, f"a batch goes to {request[:2]}"
        assert all(one.headers == request.headers for one in alone), "a batch has other headers"
        said = [set(map(repr, scalars(json.loads(one.body)))) for one in alone]
        together = set(map(repr, scalars(json.loads(request.body))))
        assert together == set.union(*said), (
            f"what each job says alone is not what the batch says: {request.body!r}"
        )


# ---------------------------------------------------------------------- replies to answers

SAYS_NOTHING_OF_ROWS = {401, 403, 429, 503}
"""Statuses of the account or of the whole service: sending rows apart would not help."""

Batch = Sequence[UpdateJob]


def decoded(
    operation: AnyOperation, settings: Any, batch: Batch, reply: Reply | NoReply
) -> tuple[Answer, ...]:
    where = f"{told(reply)} to {len(batch)}"
    try:
        answers = operation.decode(settings, batch, reply)
    except Exception as error:
        raise AssertionError(f"decode raises {error!r} at {where}") from error
    assert isinstance(answers, tuple), f"decode gives a {type(answers).__name__}"
    assert len(answers) == len(batch), f"{len(answers)} answers at {where}"
    for answer in answers:
        check_answer_is_consistent(answer, where)
        assert answer.verdict is not Verdict.SPLIT or len(batch) > 1, f"SPLIT of one row at {where}"
    return answers


def check_answer_is_consistent(answer: Answer, where: str) -> None:
    assert isinstance(answer, Answer), f"{answer!r} at {where}"
    assert isinstance(answer.verdict, Verdict), f"the verdict {answer.verdict!r} at {where}"
    assert isinstance(answer.effect, Effect), f"the effect {answer.effect!r} at {where}"
    is_ok = answer.verdict is Verdict.OK
    assert is_ok == (answer.effect is Effect.APPLIED), (
        f"{answer.verdict} {answer.effect} at {where}"
    )
    assert is_ok == (answer.code == ""), (
        f"{answer.verdict} with the code {answer.code!r} at {where}"
    )
    if answer.verdict in {Verdict.THROTTLED, Verdict.REJECTED}:
        assert answer.effect is Effect.NONE, f"{answer.verdict} {answer.effect} at {where}"
    assert is_ok or answer.message, f"no message at {where}"
    assert is_ok or answer.hint, f"no hint at {where}"
    for name in ("code", "message", "hint", "request_id", "receipt"):
        text = getattr(answer, name)
        assert isinstance(text, str), f"{name} is {text!r} at {where}"
        assert len(text) < 1_000, f"{name} has {len(text)} characters at {where}"
        assert text == "" or text.isprintable(), f"{name} is not one line at {where}"
    check_receipt(answer, where)
    wait_s = answer.retry_after_s
    assert wait_s is None or 0 <= wait_s < math.inf, f"a wait of {wait_s} s at {where}"


def check_receipt(answer: Answer, where: str) -> None:
    if not answer.receipt:
        return
    assert answer.verdict is Verdict.OK, f"a receipt with {answer.verdict} at {where}"
    try:
        json.loads(answer.receipt)
    except ValueError as error:
        raise AssertionError(f"the receipt {answer.receipt!r} is no JSON at {where}") from error


def check_status_has_the_last_word(answer: Answer, reply: Reply, *, is_refused: bool) -> None:
    """`none` only of a 4xx, `applied` only of a 2xx, whatever the body says.

    is_refused  its body tells of an error, so that a 2xx may be a refusal
    """
    assert answer.http_status == reply.status, f"{answer.http_status} told at {told(reply)}"
    assert reply.status != 429 or answer.verdict is Verdict.THROTTLED, (
        f"{answer.verdict} at {told(reply)}"
    )
    of_success = {Effect.NONE, Effect.MAYBE} if is_refused else {Effect.APPLIED, Effect.MAYBE}
    allowed = {2: of_success, 4: {Effect.NONE}}
    assert answer.effect in allowed.get(reply.status // 100, {Effect.MAYBE}), (
        f"{answer.effect} at {told(reply)}"
    )
    assert answer.verdict is not Verdict.SPLIT or reply.status not in SAYS_NOTHING_OF_ROWS, (
        f"SPLIT at {told(reply)}, which says nothing of the rows"
    )


def check_any_reply_has_an_answer(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings = settings_of(vendor)
    for batch in [(sample_job(operation),), *batches_of(vendor, operation)[:1]]:
        confirmation = operation.confirmation(settings, batch[0])
        for reply in (*replies(), confirmation.example):
            is_refused = reply.status // 100 == 2 and confirmation.refusal(reply) is not None
            for answer in decoded(operation, settings, batch, reply):
                check_status_has_the_last_word(answer, reply, is_refused=is_refused)


def check_only_the_confirmation_counts(vendor: AnyVendor, operation: AnyOperation) -> None:
    """Nothing is called applied but the one reply that the vendor documents, for that very job."""
    settings = settings_of(vendor)
    for batch in [(sample_job(operation),), *batches_of(vendor, operation)[:1]]:
        for job in batch:
            check_confirmation(operation.confirmation(settings, job))
        example = operation.confirmation(settings, batch[0]).example
        for answer in decoded(operation, settings, batch, example):
            assert answer.verdict is Verdict.OK, f"its own example is no success: {told(example)}"
        others = {"another entity's confirmation": other_s_example(operation, settings, example)}
        for why, reply in [*others.items(), *(("not the confirmation", r) for r in odd(example))]:
            for answer in decoded(operation, settings, batch, reply) if reply else ():
                assert answer.verdict is not Verdict.OK, f"{why} counts as applied: {told(reply)}"


def check_confirmation(confirmation: Confirmation) -> None:
    assert isinstance(confirmation, Confirmation), f"confirmation gives {confirmation!r}"
    assert confirmation.words, "nothing says what the confirmation is"
    assert confirmation.words.isprintable(), "the confirmation is not one line"
    example = confirmation.example
    assert example.status // 100 == 2, f"the example of a confirmation is {told(example)}"
    assert confirmation.holds(example), f"it does not hold for its own example: {told(example)}"
    assert confirmation.refusal(example) is None, f"its own example is an error: {told(example)}"
    for reply in replies():
        try:
            holds, refusal = confirmation.holds(reply), confirmation.refusal(reply)
        except Exception as error:
            raise AssertionError(f"the confirmation raises {error!r} at {told(reply)}") from error
        assert isinstance(holds, bool), f"holds gives {holds!r} at {told(reply)}"
        assert refusal is None or 100 <= refusal < 600, f"refusal is {refusal} at {told(reply)}"


def other_s_example(operation: AnyOperation, settings: Any, example: Reply) -> Reply | None:
    """The confirmation of another entity's update; None if it is the same."""
    other = job_of(operation, {**least(operation), id_field(operation): neighbours(operation)[-1]})
    found: Reply = operation.confirmation(settings, other).example
    return None if found == example else found


def odd(example: Reply) -> Iterator[Reply]:
    """Successes that are like the documented one and are not it."""
    for status in range(200, 300):
        if status != example.status:
            yield example._replace(status=status)
            yield Reply(status, {}, b"")
    if example.status in HAS_NO_BODY:
        return
    if example.body:
        yield example._replace(is_cut=True)
        yield example._replace(body=example.body[:-1])
    for body in (*BODIES, *LONG_BODIES, *ERROR_BODIES):
        if body.strip() != example.body.strip():
            yield example._replace(body=body)


HAS_NO_BODY = {204, 205}


def check_the_plain_success_is_what_decode_says(vendor: AnyVendor, operation: AnyOperation) -> None:
    """The sender then asks nobody: whatever the headers, and for each job."""
    status = operation.plain_success
    if status is None:
        return
    settings = settings_of(vendor)
    plain = Answer(Verdict.OK, Effect.APPLIED, status)
    for batch in [(sample_job(operation),), *batches_of(vendor, operation)[:1]]:
        for headers in ({}, *(reply.headers for reply in replies() if reply.headers)):
            answers = decoded(operation, settings, batch, Reply(status, headers, b""))
            assert answers == (plain,) * len(batch), f"{answers} with {dict(headers)}"


def check_no_reply_has_an_answer(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings = settings_of(vendor)
    for batch in [(sample_job(operation),), *batches_of(vendor, operation)[:1]]:
        for no_reply in (*NO_REPLIES, LOST_TURN):
            for answer in decoded(operation, settings, batch, no_reply):
                where = told(no_reply)
                effect = Effect.MAYBE if no_reply.may_have_arrived else Effect.NONE
                verdict = Verdict.FATAL if no_reply.is_permanent else Verdict.TRANSIENT
                assert answer.http_status is None, f"a status at {where}"
                assert answer.effect is effect, f"{answer.effect}, not {effect} at {where}"
                assert answer.verdict is verdict, f"{answer.verdict}, not {verdict} at {where}"


def check_one_answer_for_each_job(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, job = settings_of(vendor), sample_job(operation)
    for batch in [(job,), (job,) * 3, *batches_of(vendor, operation)]:
        for reply in (*USUAL, *NO_REPLIES):
            found = len(operation.decode(settings, batch, reply))
            assert found == len(batch), f"{found} answers to {len(batch)} jobs at {told(reply)}"


# -------------------------------------------------------------- what is written and read back


def check_what_is_written_can_be_pointed_at(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings = settings_of(vendor)
    for job in jobs_of(operation, settings):
        pointers = operation.writes(settings, job)
        assert pointers is None or isinstance(pointers, frozenset), f"writes gives {pointers!r}"
        for pointer in pointers or ():
            assert isinstance(pointer, str), f"writes names {pointer!r}"
            assert re.fullmatch(r"(/([^~/]|~[01])+)+", pointer), f"{pointer!r} is no JSON Pointer"
        assert pointers is None or not operation.replaces, f"a full replace writes only {pointers}"


def check_a_read_asks_for_the_entity(vendor: AnyVendor, operation: AnyOperation) -> None:
    """A GET without a body, in whose path the id is one segment, percent-encoded."""
    settings, reading = settings_of(vendor), operation.reading
    assert 0 < reading.settle_after_s < math.inf, f"settle_after_s is {reading.settle_after_s}"
    assert reading.settle_after_s >= operation.defaults.timeout_s, (
        "settle_after_s ends while an attempt may still be under way"
    )
    for other, jobs in jobs_by_id(operation, settings, [*neighbours(operation), *HOSTILE_IDS]):
        usual = reading.request(settings, other)
        for text, job in jobs:
            request = reading.request(settings, job)
            assert request == reading.request(settings, job), f"two requests for {text!r}"
            assert request.method == "GET", f"a read is a {request.method}"
            assert not request.body, f"a read has a body: {request.body!r}"
            assert is_sent_as_it_stands(request.path), f"the path is not encoded: {request.path}"
            for name, value in request.headers.items():
                assert header_fault(name, value) is None, header_fault(name, value)
            ours, theirs = (each.path.partition("?")[0].split("/") for each in (request, usual))
            assert len(ours) == len(theirs), f"an id changes the number of segments: {request.path}"
            found = [unquote(new) for new, old in zip(ours, theirs, strict=True) if new != old]
            wanted = operation.entity(settings, job).id
            assert found == [wanted], f"{wanted!r} is read as {found}"


def check_any_reply_tells_a_state_or_nothing(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, reading, job = settings_of(vendor), operation.reading, sample_job(operation)
    for reply in replies():
        try:
            found, again = (reading.state(settings, job, reply) for _ in range(2))
        except Exception as error:
            raise AssertionError(f"state raises {error!r} at {told(reply)}") from error
        assert repr(found) == repr(again), f"{told(reply)} means {found}, then {again}"
        if isinstance(found, State):
            assert reply.status // 100 == 2, f"a state at {told(reply)}"
            assert not reply.is_cut, f"a state at {told(reply)}"
            assert found.etag is None or (isinstance(found.etag, str) and found.etag), (
                f"the etag {found.etag!r} at {told(reply)}"
            )
        else:
            assert found is None or found is MISSING, f"{found!r} at {told(reply)}"
            assert found is None or reply.status in {404, 410}, f"{found} at {told(reply)}"
            assert found is None or reply.body not in BODIES, (
                f"{found} at {told(reply)}, which the vendor did not write"
            )


def check_differences_are_pure(vendor: AnyVendor, operation: AnyOperation) -> None:
    """An entity of which nothing is known differs; of the same jobs and states always alike."""
    settings, reading = settings_of(vendor), operation.reading
    for job in jobs_of(operation, settings):
        twin = operation.job_type.trusted(job.canonical_json())
        for fields in ({}, {"name": 7}, {"name": {"en-US": None}}, {"_instance": []}):
            state = State(fields)
            before = repr((job, state))
            try:
                found = reading.differences(settings, job, state)
            except Exception as error:
                raise AssertionError(f"differences raises {error!r} at {fields}") from error
            assert isinstance(found, tuple), f"differences gives a {type(found).__name__}"
            assert found == reading.differences(settings, twin, state), f"not alike at {fields}"
            assert repr((job, state)) == before, "what was given is not the same any more"
            for each in found:
                assert isinstance(each, Difference), f"{each!r} is no Difference"
                assert each.field, f"a Difference in nothing: {each}"
                assert isinstance(each.is_decided, bool), f"{each} is told or not"
            # the vendor refuses to remove what is not there: nothing is left to differ
            is_refused = operation.change and operation.change.after(settings, job, state) is None
            assert found or is_refused, f"nothing differs from {fields}, which holds nothing"


# ----------------------------------------------------------------------------- guards


GUARD_STATES = [
    State(fields, etag)
    for fields in ({}, {"name": 7}, {"_instance": []}, {"_instance": {"xdm:tags": ["a"]}})
    for etag in (None, "3")
]


def guarded_jobs(
    operation: AnyOperation, settings: Any
) -> Iterator[tuple[UpdateJob, State, UpdateJob]]:
    """Jobs that need a guard, states, and the jobs with what these offer."""
    for job in jobs_of(operation, settings):
        for state in GUARD_STATES if operation.guard.needs(settings, job) else ():
            with suppress(Exception):  # another check tells
                found = operation.guard.guarded(settings, job, state)
                if isinstance(found, operation.job_type):
                    yield job, state, found


def check_who_needs_a_guard_is_decided(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, guard = settings_of(vendor), operation.guard
    assert operation.reading is not None, "a guard is read, and there is no reading"
    needing = 0
    for job in jobs_of(operation, settings):
        needs = guard.needs(settings, job)
        assert isinstance(needs, bool), f"needs gives {needs!r}, neither yes nor no"
        twin = operation.job_type.trusted(job.canonical_json())
        assert guard.needs(settings_of(vendor, secret="other"), twin) is needs, "needs is not pure"
        if needs:
            needing += 1
            assert not operation.repeatable(settings, job), f"harmless, and guarded: {job!r}"
    assert needing, "no variant of the sample needs it"


def check_a_guard_is_made_of_what_was_read(vendor: AnyVendor, operation: AnyOperation) -> None:
    """Of the same jobs and states always alike; it may be missing, but never always."""
    settings, guard = settings_of(vendor), operation.guard
    needing = list(filter(partial(guard.needs, settings), jobs_of(operation, settings)))
    for job in needing:
        for state in GUARD_STATES:
            before = repr((job, state))
            try:
                first, second = (guard.guarded(settings, job, state) for _ in range(2))
            except Exception as error:
                raise AssertionError(f"guarded raises {error!r} at {state}") from error
            assert first == second, f"two guards of {state}"
            assert first is None or type(first) is type(job), f"guarded gives {first!r}"
            assert repr((job, state)) == before, "what was given is not the same any more"
    found = any(True for _ in guarded_jobs(operation, settings))
    assert found or not needing, "no state offers a guard"


def check_a_guarded_job_can_be_sent(vendor: AnyVendor, operation: AnyOperation) -> None:
    """It is for the same entity, survives its way through text, and needs no second guard."""
    settings, guard = settings_of(vendor), operation.guard
    for job, state, guarded in guarded_jobs(operation, settings):
        text = guarded.canonical_json()
        assert operation.job_type.trusted(text) == guarded, f"not the same as text: {text}"
        assert operation.repeatable(settings, guarded), f"guarded by {state}, and still harmful"
        assert not guard.needs(settings, guarded), f"guarded by {state}, and needs another"
        for name, decide in {
            "entity": operation.entity,
            "writes": operation.writes,
            "read": operation.reading.request,
        }.items():
            assert decide(settings, guarded) == decide(settings, job), f"a guard changes {name}"
        bare, laid = (operation.encode(settings, (each,)) for each in (job, guarded))
        assert laid.path == bare.path, f"a guard changes the path: {laid.path}"
        assert laid != bare, f"guarded by {state}, and the same is sent"
        words = guard.expected(settings, guarded)
        assert words, "what is expected has no words"
        assert words.isprintable(), f"what is expected is not one line: {words!r}"


def check_no_other_answer_is_taken_for_its_refusal(
    vendor: AnyVendor, operation: AnyOperation
) -> None:
    """Only a 4xx that speaks of the row; never a limit, or credentials, or silence."""
    settings, guard = settings_of(vendor), operation.guard
    found = set()
    for status in (None, *range(200, 600)):
        verdict = Verdict.REJECTED if status and status // 100 == 4 else Verdict.TRANSIENT
        if guard.refusal(settings, Answer(verdict, Effect.NONE, status)):
            found.add(status)
    assert found, "no answer is its refusal"
    wrong = {each for each in found if each is None or each // 100 != 4} | found & {401, 403, 429}
    assert not wrong, f"taken for its refusal: {wrong}"


Check = Callable[[AnyVendor, AnyOperation], None]

GUARD_CHECKS: list[Check] = [
    check_who_needs_a_guard_is_decided,
    check_a_guard_is_made_of_what_was_read,
    check_a_guarded_job_can_be_sent,
    check_no_other_answer_is_taken_for_its_refusal,
]
"""Of operations that have a `guard`."""

READ_CHECKS: list[Check] = [
    check_what_is_written_can_be_pointed_at,
    check_a_read_asks_for_the_entity,
    check_any_reply_tells_a_state_or_nothing,
    check_differences_are_pure,
]
"""Of operations that have a `reading`."""

CHECKS: list[Check] = [
    check_names,
    check_defaults_can_be_used,
    check_every_field_is_explained,
    check_sample_is_whole_and_right,
    check_sample_can_be_loaded,
    check_opaque_cells_decide_nothing,
    check_job_and_text_never_differ,
    check_request_can_be_sent,
    check_the_head_is_that_of_a_request,
    check_no_credential_in_sight,
    check_secrets_decide_nothing,
    check_signing_in_is_decided,
    check_an_id_reaches_the_vendor_alone,
    check_entities_are_distinguished,
    check_entities_have_whole_keys,
    check_functions_are_pure,
    check_batches_can_be_sent,
    check_any_reply_has_an_answer,
    check_only_the_confirmation_counts,
    check_the_plain_success_is_what_decode_says,
    check_no_reply_has_an_answer,
    check_one_answer_for_each_job,
]


# ------------------------------------------------------------------------------- over the wire


def is_emulated(vendor: AnyVendor) -> bool:
    return vendor.name in {each.name for each in EMULATED}


async def sent(
    vendor: AnyVendor, operation: AnyOperation, folder: Path, *rows: Mapping[str, str]
) -> tuple[Summary, list[dict[str, Any]]]:
    """Rows sent to the embedded simulator, and the requests that it has applied."""
    config = load_config(None, environ={}, vendors={vendor.name: vendor}, cwd=folder)
    options = RunOptions(operation=operation.name, account=f"sample-{vendor.name}")
    async with serve() as running:
        at_simulator = config.simulated(running.base_urls)
        path = csv_file(folder, *rows)
        prepared = await anyio.to_thread.run_sync(prepare, path, at_simulator, options)
        summary = await carry_out(prepared, RunEnvironment(environ={}))
        return summary, [entry for entry in running.log() if entry["applied"]]


def check_all_are_updated(summary: Summary) -> None:
    counts = {status.value: count for status, count in summary.statuses.items() if count}
    why = [f"{error.code} {error.message}" for error in summary.errors]
    assert counts == {"updated": summary.rows}, f"of {summary.rows} rows {counts}: {why}"


async def wire_check_the_sample_is_updated(
    vendor: AnyVendor, operation: AnyOperation, folder: Path
) -> None:
    summary, applied = await sent(vendor, operation, folder, operation.sample)
    check_all_are_updated(summary)
    assert len(applied) == 1, f"the sample was applied {len(applied)} times"


async def wire_check_rows_that_share_requests_are_updated(
    vendor: AnyVendor, operation: AnyOperation, folder: Path
) -> None:
    if not batches_of(vendor, operation):
        return
    name, given = id_field(operation), least(operation)
    row = {
        column: text
        for column, text in operation.sample.items()
        if place_of(operation.job_type, column)[0] in given
    }
    ids = neighbours(operation)[:6]
    rows = ({**row, name: text} for text in ids)
    summary, applied = await sent(vendor, operation, folder, *rows)
    check_all_are_updated(summary)
    reached = Counter(text for entry in applied for text in entry.get("ids") or [entry["id"]])
    assert reached == Counter(ids), f"of {ids} these were applied: {dict(reached)}"
    assert len(applied) < len(ids), "every row had a request of its own"


async def wire_check_wrong_credentials_stop_the_account(
    vendor: AnyVendor, operation: AnyOperation, folder: Path
) -> None:
    wrong = dict.fromkeys(secret_keys(vendor) & vendor.simulated.keys(), "wrong")
    stranger = dataclasses.replace(vendor, simulated={**vendor.simulated, **wrong})
    if vendor.authenticate(settings_of(vendor)) is None:
        return
    summary, applied = await sent(stranger, operation, folder, operation.sample)
    assert not applied, "it was applied with wrong credentials"
    (account,) = summary.accounts.values()
    assert account.stopped, "the account goes on with wrong credentials"
    assert summary.exit_code == 3
    assert summary.statuses[Status.UPDATED] == 0, "it is reported as updated"


WIRE_CHECKS: list[Callable[[AnyVendor, AnyOperation, Path], Awaitable[None]]] = [
    wire_check_the_sample_is_updated,
    wire_check_rows_that_share_requests_are_updated,
    wire_check_wrong_credentials_stop_the_account,
]


# ------------------------------------------------------------------------- read over the wire


@asynccontextmanager
async def signed_in(vendor: AnyVendor) -> AsyncIterator[tuple[Any, Exchange]]:
    """Settings for the embedded simulator, and a way to send it requests as the vendor signs in."""
    async with serve() as running, ClientSession() as session:
        base_url = running.base_urls[vendor.name]
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(base_url))
        given = {
            name: value.replace("{origin}", origin) if isinstance(value, str) else value
            for name, value in vendor.simulated.items()
        }
        settings = vendor.settings.model_validate({**given, "base_url": base_url})

        async def exchange(request: Request, base_url: str = base_url, **headers: str) -> Reply:
            url = URL(base_url + request.path, encoded=True)
            async with session.request(
                request.method, url, data=request.body, headers={**request.headers, **headers}
            ) as got:
                return Reply(got.status, got.headers, await got.read())

        async def asked(request: Request) -> Reply:
            return await exchange(request, Authorization=authorization)

        authorization = ""
        match vendor.authenticate(settings):
            case Basic(user, password):
                authorization = encode_basic_auth(user, password.get_secret_value())
            case TokenCall() as call:
                token = call.read(await exchange(call.request, call.base_url))
                authorization = f"Bearer {token.value.get_secret_value()}" if token else ""
        yield settings, asked


Exchange = Callable[[Request], Awaitable[Reply]]


async def wire_check_what_was_sent_is_read_back(
    vendor: AnyVendor, operation: AnyOperation, _folder: Path
) -> None:
    reading, job = operation.reading, sample_job(operation)
    async with signed_in(vendor) as (settings, exchange):
        before = reading.state(settings, job, await exchange(reading.request(settings, job)))
        assert isinstance(before, State), f"the first read gives {before}"
        assert reading.differences(settings, job, before), "before the update nothing differs"
        reply = await exchange(operation.encode(settings, (job,)))
        assert reply.status // 100 == 2, f"the update is answered with {told(reply)}"
        after = reading.state(settings, job, await exchange(reading.request(settings, job)))
        assert isinstance(after, State), f"the second read gives {after}"
        found = reading.differences(settings, job, after)
        missing = [each for each in found if each.is_decided]
        assert not missing, f"what was sent is not what is read: {missing}"


async def wire_check_a_read_of_another_entity_tells_nothing(
    vendor: AnyVendor, operation: AnyOperation, _folder: Path
) -> None:
    """A reply that a connection out of step brings is about another entity, and says so."""
    reading, values, name = operation.reading, sample_values(operation), id_field(operation)
    ours, other = (
        operation.job_type.model_validate({**values, name: text})
        for text in neighbours(operation)[:2]
    )
    async with signed_in(vendor) as (settings, exchange):
        reply = await exchange(reading.request(settings, other))
        assert isinstance(reading.state(settings, other, reply), State), f"{told(reply)} tells none"
        found = reading.state(settings, ours, reply)
        assert found is None, f"a read of {other} tells of {ours}: {found}"


READ_WIRE_CHECKS: list[Callable[[AnyVendor, AnyOperation, Path], Awaitable[None]]] = [
    wire_check_what_was_sent_is_read_back,
    wire_check_a_read_of_another_entity_tells_nothing,
]


# ------------------------------------------------------------- what an update makes of a state


def check_any_reply_is_a_page_or_nothing(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, job = settings_of(vendor), sample_job(operation)
    listing = operation.reading.listing(settings) if operation.reading else None
    if listing is None:
        return
    first = listing.request(settings, job, "")
    assert (first.method, first.body) == ("GET", b""), f"a list is asked for with {first.method}"
    assert is_sent_as_it_stands(first.path), f"the path is not encoded: {first.path}"
    for reply in replies():
        try:
            page = listing.page(settings, reply, "")
        except Exception as error:
            raise AssertionError(f"page raises {error!r} at {told(reply)}") from error
        if page is None:
            continue
        assert reply.status // 100 == 2, f"a page at {told(reply)}"
        assert not reply.is_cut, f"a page at {told(reply)}"
        assert page.states or not page.next, f"an endless list at {told(reply)}"


MAX_STATES = 6
"""Each is met by every job."""


def states_of(operation: AnyOperation, settings: Any) -> list[State]:
    """States after some jobs and, if rows may state one, the states that they give."""
    change, jobs = operation.change, jobs_of(operation, settings)
    found = [change.after(settings, job, State({})) for job in jobs]
    found += [change.stated(settings, job) for job in jobs]
    states = [state for state in found if state is not None]
    return states[:: len(states) // MAX_STATES + 1]


def check_an_update_leaves_what_it_says(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, change = settings_of(vendor), operation.change
    for job in jobs_of(operation, settings):
        for state in states_of(operation, settings):
            before = repr((job, state))
            after = change.after(settings, job, state)
            assert after is None or isinstance(after, State), f"after gives {after!r}"
            assert repr((job, state)) == before, "what was given is not the same any more"
            if after is None:
                continue
            assert not change.differences(settings, after, after), f"{after} is not like itself"
            if operation.reading is not None:
                found = operation.reading.differences(settings, job, after)
                assert not any(each.is_decided for each in found), f"after the job {found} differs"


def check_a_difference_is_found(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, change = settings_of(vendor), operation.change
    for state in states_of(operation, settings):
        for other in states_of(operation, settings):
            there = change.differences(settings, state, other)
            back = change.differences(settings, other, state)
            assert {each.field for each in there} == {each.field for each in back}, (
                f"{there} there, {back} back"
            )
            assert all(isinstance(each, Difference) and each.field for each in there), f"{there}"
        emptied = change.differences(settings, state, State({}))
        held = [value for value in state.fields.values() if value not in (None, [], {})]
        assert emptied or not held, f"nothing differs between {state} and an empty one"


def check_an_inverse_takes_back(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, change = settings_of(vendor), operation.change
    taken_back = 0
    for job in jobs_of(operation, settings):
        for state in states_of(operation, settings):
            after = change.after(settings, job, state)
            back = None if after is None else change.inverse(settings, job, state)
            if after is None or back is None:
                continue
            assert operation.entity(settings, back) == operation.entity(settings, job), (
                "the inverse is about another entity"
            )
            restored = change.after(settings, back, after)
            assert restored is not None, f"the inverse does not fit what it takes back: {back}"
            found = change.differences(settings, state, restored)
            assert not found, f"after the inverse {found} differs"
            taken_back += 1
    assert taken_back, "nothing can be taken back"


def check_a_merge_keeps_what_the_row_leaves_out(vendor: AnyVendor, operation: AnyOperation) -> None:
    settings, change = settings_of(vendor), operation.change
    assert (change.merge is not None) == operation.replaces, "merge goes with a full replace"
    if change.merge is None:
        return
    for job in jobs_of(operation, settings):
        for state in states_of(operation, settings):
            whole = change.merge(settings, job, state)
            assert operation.entity(settings, whole) == operation.entity(settings, job)
            after = change.after(settings, whole, state)
            assert after is not None, f"the whole does not fit: {whole}"
            given = {n for n in job.given() if n in after.fields}
            for each in change.differences(settings, state, after):
                assert each.field.partition(".")[0] in given, f"{each} changes, and was not given"
            for name in given:
                value, kept = job.given()[name], after.fields[name]
                is_map = isinstance(value, dict) and isinstance(kept, dict)
                laid = {**kept, **value} if is_map else value
                assert kept == laid, f"{name} is {kept}, not {value}"


CHANGE_CHECKS: list[Check] = [
    check_an_update_leaves_what_it_says,
    check_a_difference_is_found,
    check_an_inverse_takes_back,
    check_a_merge_keeps_what_the_row_leaves_out,
    check_any_reply_is_a_page_or_nothing,
]
"""Of operations that have a `change`."""


async def wire_check_an_update_is_predicted_and_undone(
    vendor: AnyVendor, operation: AnyOperation, _folder: Path
) -> None:
    reading, change, job = operation.reading, operation.change, sample_job(operation)
    async with signed_in(vendor) as (settings, exchange):

        async def held() -> State:
            found = reading.state(settings, job, await exchange(reading.request(settings, job)))
            assert isinstance(found, State), f"a read gives {found}"
            return found

        async def send(one: UpdateJob) -> None:
            reply = await exchange(operation.encode(settings, (one,)))
            assert reply.status // 100 == 2, f"{one} is answered with {told(reply)}"

        before = await held()
        guarded = operation.guard and operation.guard.guarded(settings, job, before)
        await send(guarded or job)
        found = change.differences(settings, change.after(settings, job, before), await held())
        assert not found, f"the update does not leave what was foretold: {found}"
        await send(change.inverse(settings, job, before))
        found = change.differences(settings, before, await held())
        assert not found, f"what was taken back is not what was there: {found}"


async def wire_check_what_is_guarded_happens_once(
    vendor: AnyVendor, operation: AnyOperation, jobs: Sequence[UpdateJob] = ()
) -> None:
    """Sent a second time it is refused, and a read shows that it was applied.

    jobs  that need a guard; none: those of the sample's variants that do
    """
    reading, guard, tried = operation.reading, operation.guard, 0
    async with signed_in(vendor) as (settings, exchange):
        tried_jobs = jobs or jobs_of(operation, settings)
        for job in filter(partial(guard.needs, settings), tried_jobs):
            read = reading.request(settings, job)
            before = reading.state(settings, job, await exchange(read))
            assert isinstance(before, State), f"the first read gives {before}"
            guarded = guard.guarded(settings, job, before)
            if guarded is None:
                continue
            request = operation.encode(settings, (guarded,))
            first = await exchange(request)
            if first.status // 100 != 2:
                continue
            tried += 1
            second = await exchange(request)
            (answer,) = operation.decode(settings, (guarded,), second)
            assert answer.verdict is Verdict.REJECTED, f"the second time: {told(second)}"
            assert guard.refusal(settings, answer), f"not taken for its refusal: {told(second)}"
            after = reading.state(settings, job, await exchange(read))
            assert isinstance(after, State), f"the second read gives {after}"
            found = reading.differences(settings, guarded, after)
            assert not any(each.is_decided for each in found), (
                f"applied, and told not to be: {found}"
            )
            assert guard.guarded(settings, job, after) != guarded, "it still holds afterwards"
    assert tried, "nothing that needs a guard was applied"
