"""What the checks of an operation work with: settings, jobs from its sample, requests, replies."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr, ValidationError
from yarl import URL

from pipeline.config.secrets import secret_keys
from pipeline.model import Cell, CellKind, NoReply, Reply, Request, UpdateJob
from pipeline.vendors import Operation, Vendor, VendorSettings, load_vendors

AnyVendor = Vendor[Any]
AnyOperation = Operation[Any, Any]
Values = dict[str, Any]

ORIGIN = "https://vendor.example:8443"
PLAIN = {CellKind.ID, CellKind.TEXT, CellKind.KEYWORD, CellKind.DATE}


_ADOBE = load_vendors()["adobe"]
_CONTAINER = "e0bd8463-0913-4ca1-bd84-6309134ca1f6"
XCORE: AnyVendor = dataclasses.replace(
    _ADOBE,
    simulated={**_ADOBE.simulated, "api": "xcore", "container_id": _CONTAINER},
    operations=(
        dataclasses.replace(
            _ADOBE.operations[0],
            sample={
                "instance_id": "b3966680-13ec-11eb-9c20-8323709cfc65",
                "container_id": _CONTAINER,
                "etag": "1",
                "status": "approved",
                "/_instance/xdm:name": "Summer for everyone",
                "add:/_instance/xdm:tags/-": "xcore:tag:124e2e764b1ac1b9",
            },
        ),
    ),
)
"""Adobe by way of its older API, which has ended and works all the same."""


# ------------------------------------------------------ settings, and a job from the sample


def settings_of(vendor: AnyVendor, *, base_url: str = f"{ORIGIN}/api", secret: str = "hid") -> Any:
    """Settings as a sample account has them, with made-up secrets that can be looked for."""
    fields = vendor.settings.model_fields
    required = {name for name, info in fields.items() if info.is_required()}
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(base_url))
    given = {
        key: value.replace("{origin}", origin) if isinstance(value, str) else value
        for key, value in vendor.simulated.items()
    }
    secrets = secret_keys(vendor) & (given.keys() | required)
    planted = {name: f"{secret}-{name}-7c1f" for name in secrets}
    return vendor.settings.model_validate({**given, **planted, "base_url": base_url})


def secrets_of(settings: VendorSettings) -> dict[str, str]:
    found = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {n: v.get_secret_value() for n, v in found.items() if isinstance(v, SecretStr)}


def cells_of(job_type: type[UpdateJob]) -> dict[str, Cell]:
    found = {}
    for name, field in job_type.model_fields.items():
        of_field = [mark for mark in field.metadata if isinstance(mark, Cell)]
        assert len(of_field) == 1, f"the field {name} needs one Cell, it has {len(of_field)}"
        found[name] = of_field[0]
    return found


def value_of(cell: Cell, text: str) -> Any:
    """A cell as people write it, as a JSON value."""
    if cell.kind in PLAIN:
        return None if text == "null" else text
    try:
        if cell.short is not None and text[0] not in "[{" and text != "null":
            return cell.short(text)
        return json.loads(text)
    except ValueError as error:
        raise AssertionError(f"{text!r} is no {cell.kind}: {error}") from error


def pattern_for(cell: Cell, column: str) -> str | None:
    """The member of a spread field that a column sets: its own name, or the longest prefix."""
    names = [name for name, _ in cell.members]
    if column in names:
        return column
    fitting = [n for n in names if n.endswith("*") and column.startswith(n[:-1])]
    return max(fitting, key=len, default=None)


def place_of(job_type: type[UpdateJob], column: str) -> tuple[str, str | None, Cell]:
    """Field, member or None, and the cell that a column of a sample is for."""
    cells = cells_of(job_type)
    if column in cells and not cells[column].is_spread:
        return column, None, cells[column]
    for name, cell in cells.items():
        if cell.is_spread and (member := pattern_for(cell, column)):
            return name, column, dict(cell.members)[member]
    name, _, key = column.partition(".")
    assert name in cells, f"the sample has a column {column}, which is no field of the job"
    members = dict(cells[name].members)
    assert key in members or "*" in members, f"the sample's column {column} is no member of {name}"
    return name, key, members.get(key) or members["*"]


def sample_values(operation: AnyOperation) -> Values:
    values: Values = {}
    for column, text in operation.sample.items():
        name, key, cell = place_of(operation.job_type, column)
        if key is None:
            values[name] = value_of(cell, text)
        else:
            values.setdefault(name, {})[key] = value_of(cell, text)
    return values


def job_of(operation: AnyOperation, values: Mapping[str, Any]) -> UpdateJob | None:
    """The job, or None if the type refuses the values."""
    try:
        job: UpdateJob = operation.job_type.model_validate(dict(values))
    except ValidationError:
        return None
    return job


def sample_job(operation: AnyOperation) -> UpdateJob:
    job: UpdateJob = operation.job_type.model_validate(sample_values(operation))
    return job


def csv_file(folder: Path, *rows: Mapping[str, str]) -> Path:
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([rows[0].keys(), *(row.values() for row in rows)])
    return path


# ----------------------------------------------------------------- other jobs, made from it


def id_field(operation: AnyOperation) -> str:
    """The field that names the entity: the first id."""
    ids = [name for name, cell in cells_of(operation.job_type).items() if cell.kind is CellKind.ID]
    assert ids, "no field is an id: nothing says what is updated"
    return ids[0]


def least(operation: AnyOperation) -> Values:
    """The sample without everything that a row may leave out."""
    values = sample_values(operation)
    for name in optional(operation):
        fewer = {n: value for n, value in values.items() if n != name}
        values = fewer if job_of(operation, fewer) else values
    return values


def optional(operation: AnyOperation) -> list[str]:
    needed = {*operation.always, id_field(operation)}
    return [name for name in sample_values(operation) if name not in needed]


def variants(operation: AnyOperation) -> Iterator[Values]:
    """The sample; without one field each, without all that can be left out; with the examples."""
    whole = sample_values(operation)
    yield whole
    yield least(operation)
    for name in optional(operation):
        yield {n: value for n, value in whole.items() if n != name}
    for name, value in examples(operation):
        yield {**whole, name: value}
        yield {**least(operation), name: value}


def examples(operation: AnyOperation) -> Iterator[tuple[str, Any]]:
    """Fields with the value that their help shows; of a spread field each member by itself."""
    for name, cell in cells_of(operation.job_type).items():
        if not cell.is_spread:
            yield name, value_of(cell, cell.example)
        for member, inner in cell.members if cell.is_spread else ():
            columns = (c for c in operation.sample if pattern_for(cell, c) == member)
            key = next(columns, member.replace("*", "example"))
            yield name, {key: value_of(inner, inner.example)}


OPAQUE: Mapping[CellKind, Sequence[str]] = {
    CellKind.ID: (
        "7",
        "12",
        "x",
        "Ab_9-z",
        "a" * 64,
        "007",
        "12-5",
        "a.b",
        *map(str, range(95, 105)),
    ),
    CellKind.TEXT: (
        "Ü",
        "12",
        "a b",
        "%2F/?#&=+",
        "漢字 🙂",
        "x" * 255,
        "x" * 257,
        'say "hi"',
        "null",
    ),
    CellKind.INTEGER: tuple(
        str(number + step)
        for number in (*(10**n for n in range(10)), *(2**n for n in range(3, 31, 3)))
        for step in (-1, 0, 1)
    ),
    CellKind.DATE: tuple(
        f"{day}T{hour}:30:00{offset}"
        for day in ("2000-01-01", "2026-02-28", "2027-06-01", "2027-09-30", "2099-12-31")
        for hour, offset in (("00", "+00:00"), ("12", "+02:00"), ("23", "-11:00"), ("12", "Z"))
    ),
}
"""Cells of every form, among them those at which somebody may draw a line."""


def opaque_rows(operation: AnyOperation) -> list[dict[str, str]]:
    """Rows like the sample that differ in opaque cells: in one of them, then in all."""
    columns = {
        column: (*OPAQUE[cell.kind], *(_counted(text) if cell.kind is CellKind.ID else ()))
        for column, text in operation.sample.items()
        if (cell := place_of(operation.job_type, column)[2]).is_opaque
    }
    rows = [{**operation.sample, n: text} for n, texts in columns.items() for text in texts]
    turns = max(map(len, columns.values()), default=0)
    for turn in range(3 * turns):
        changes = {
            name: texts[(turn * (2 * place + 1)) % len(texts)]
            for place, (name, texts) in enumerate(columns.items())
        }
        rows.append({**operation.sample, **changes})
    return rows


def _counted(text: str) -> list[str]:
    """Ids that are built as another one is, with another number at the end."""
    stem = text.rstrip("0123456789")
    return [stem + number for number in ("1", "9", "10", "11", "99", "100", "999", "1" * 15)]


def jobs_of(operation: AnyOperation, settings: Any, ids: Iterable[str] = ()) -> list[UpdateJob]:
    """Every variant that may be sent, as the sample's entity or with each of the ids."""
    name, found = id_field(operation), []
    for values in variants(operation):
        for text in ids or (values[name],):
            job = job_of(operation, {**values, name: text})
            if job is not None and operation.refuse(settings, job) is None:
                found.append(job)
    return found


def neighbours(operation: AnyOperation) -> list[str]:
    """Ids that are built as the sample's is and differ in the last place."""
    text = operation.sample[id_field(operation)]
    found = [text[:-1] + last for last in "0123456789abcdef" if last != text[-1]]
    values = sample_values(operation)
    good = [each for each in found if job_of(operation, {**values, id_field(operation): each})]
    assert len(good) > 3, f"hardly an id but the sample's is accepted: {good}"
    return good


def batches_of(vendor: AnyVendor, operation: AnyOperation) -> list[tuple[UpdateJob, ...]]:
    """Two or three jobs each that may share a request: each entity once, whatever else differs."""
    settings = settings_of(vendor)
    size = operation.batch_size(settings)
    ids = neighbours(operation)[:3]
    by_key: defaultdict[str, list[list[UpdateJob]]] = defaultdict(lambda: [[] for _ in ids])
    for place, text in enumerate(ids):
        for job in jobs_of(operation, settings, [text]):
            key = operation.batch_key(settings, job)
            if key and job not in by_key[key][place]:
                by_key[key][place].append(job)
    found = []
    for places in by_key.values() if size > 1 else ():
        for turn in range(max(map(len, places))):
            jobs = [of_id[(turn + n) % len(of_id)] for n, of_id in enumerate(places) if of_id]
            found.append(tuple(jobs[:size]))
    return found


def jobs_by_id(
    operation: AnyOperation, settings: Any, ids: Sequence[str]
) -> Iterator[tuple[UpdateJob, list[tuple[str, UpdateJob]]]]:
    """For every variant a job with an id of its own, and the same with each of `ids`.

    What the type or the account refuses is left out: it harms nobody.
    """
    name, own = id_field(operation), neighbours(operation)[-1]
    for values in variants(operation):
        made = [(text, job_of(operation, {**values, name: text})) for text in (own, *ids)]
        jobs = [
            (text, job)
            for text, job in made
            if job is not None and operation.refuse(settings, job) is None
        ]
        if jobs and jobs[0][0] == own:
            yield jobs[0][1], [(text, job) for text, job in jobs[1:] if text != own]


HOSTILE_IDS = [
    "../../x?y#z",
    "a/b",
    "a%2Fb",
    "a b",
    "a+b",
    "a;b=c",
    "a&b",
    'a"b',
    "a|b",
    ".",
    "..",
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


# ---------------------------------------------------------------- what a request carries


def scalars(value: Any) -> Iterator[Any]:
    """Every value of a JSON text that holds no others."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from scalars(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scalars(inner)
    else:
        yield value


def texts(request: Request) -> Counter[str]:
    return Counter(each for each in scalars(json.loads(request.body)) if isinstance(each, str))


def carried(request: Request, other: Request) -> list[str]:
    """What `request` says and `other` does not: segments of the path, and texts of the body."""
    ours, theirs = (r.path.partition("?")[0].split("/") for r in (request, other))
    assert len(ours) == len(theirs), (
        f"an id changes the number of segments: {request.path} and {other.path}"
    )
    assert request.path.partition("?")[2] == other.path.partition("?")[2], (
        f"an id changes the query: {request.path} and {other.path}"
    )
    in_path = [unquote(new) for new, old in zip(ours, theirs, strict=True) if new != old]
    return in_path + list((texts(request) - texts(other)).elements())


def is_sent_as_it_stands(path: str) -> bool:
    """Return whether every library and server reads the path in the same way."""
    parts = urlsplit(f"{ORIGIN}{path}")
    as_given = URL(f"{ORIGIN}{path}", encoded=True)
    return (
        re.fullmatch(r"/[!\"$-~]*", path) is not None
        and path == parts.path + (f"?{parts.query}" if parts.query else "")
        and as_given.raw_path_qs == path
        and not {".", ".."} & set(parts.path.split("/"))
    )


# --------------------------------------------------------------------- what may come back

BODIES = [
    b"",
    b" ",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"0",
    b'"text"',
    b"NaN",
    b"<html><body>Bad gateway</body></html>",
    b"upstream connect error",
    b"\x00\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"a": 1',
    b'{"errorCode": "x", "errorMessage": ["a"], "transactionId": {}, "statusCode": null}',
    b'{"errorCode": true, "errorMessage": null, "errorMessageExtended": [1, null, {}]}',
    b'{"errorCode": 1e999, "errorMessage": "\\ud800 \\u0000", "transactionId": 12}',
    b'{"errorCode": -1, "errorMessage": "", "errorMessageExtended": {"property": 1}}',
    b'{"type": 7, "title": [], "status": "x", "detail": {"a": []}, "error-chain": [null, {}]}',
    b'{"error_code": ["403000"], "message": {"a": 1}, "request-id": null, "report": "x"}',
    b'{"id": "' + b"x" * 9_999 + b'", "etag": "\\u0000\\ud800", "repo:etag": 1e999}',
    b'{"id": "an id", "instanceId": "an id", "@id": "an id", "etag": 2, "repo:etag": 2}',
]
ERROR_BODIES = [
    b'{"statusCode": 422, "errorCode": 1102, "errorMessage": "[0401-1102]: Unprocessable Entity"}',
    b'{"errorCode": 9802, "errorMessage": "no such coupon"}',
    b'{"error_code": "403025", "message": "Profile is not valid"}',
    b'{"type": "https://ns.adobe.com/aep/errors/EXEG-3050-404", "title": "No", "status": 404}',
    b'{"status": "queued", "jobId": "1"}',
    b'{"results": [{"status": 422, "error": "sku is not in the catalog"}]}',
    b'{"error": {"message": "no such offer"}}',
    b"false",
]
LONG_BODIES = [
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b"9" * 10_000,
    b'{"errorMessage": "' + b"[0401-1102]: " * 20_000 + b'"}',
    b'{"errorMessage": "' + b" " * 100_000 + b'", "transactionId": "' + b"y" * 9_999 + b'"}',
]
HEADERS: list[Mapping[str, str]] = [
    {},
    {"content-type": "text/html", "retry-after": "7", "location": "https://elsewhere.example/"},
    {"content-type": "application/json", "retry-after": "soon", "location": "\r\nx"},
]
USUAL: list[Reply | NoReply] = [Reply(status, {}, b"true") for status in (200, 204, 422, 500)]
NO_REPLIES = [
    NoReply(reason, "words", may_have_arrived=arrived, is_permanent=permanent)
    for reason in ("connect_failed", "tls_failed", "timeout", "broken_reply", "something_new")
    for arrived in (False, True)
    for permanent in (False, True)
]
LOST_TURN = NoReply("signed_out", "words", may_have_arrived=False, lost_turn=True)

TOKENS = [
    b'{"access_token": "t1", "token_type": "bearer", "expires_in": 3600}',
    b'{"access_token": "t1"}',
    b'{"access_token": "t1", "expires_in": "3600"}',
    b'{"access_token": "t1", "expires_in": -1}',
    b'{"access_token": "t1", "expires_in": 1e999}',
    b'{"access_token": "t1", "expires_in": true}',
    b'{"access_token": ""}',
    b'{"access_token": "a\\r\\nX: y"}',
    b'{"access_token": null}',
    b'{"access_token": 7}',
]


def replies() -> Iterator[Reply]:
    """Every status with a few bodies, and the statuses that matter most with all of them."""
    for status in range(100, 600):
        for n, headers in enumerate(HEADERS):
            body = b"" if status == 204 else BODIES[(status + n) % len(BODIES)]
            yield Reply(status, headers, body, is_cut=(status + n) % 2 == 1)
    for status in (200, 302, 400, 404, 422, 429, 500, 503):
        for body in (*BODIES, *ERROR_BODIES, *LONG_BODIES):
            yield Reply(status, {}, body)
            yield Reply(status, {}, body, is_cut=True)


def told(reply: Reply | NoReply) -> str:
    if isinstance(reply, NoReply):
        return f"no reply ({reply.reason})"
    cut = ", cut" if reply.is_cut else ""
    return f"HTTP {reply.status} with {reply.body[:60]!r}{cut}"
