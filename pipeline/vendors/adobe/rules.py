"""Rules for rows: refusals, doubts, repetition and preconditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

from pydantic_core import to_json

from pipeline.model import Answer
from pipeline.vendors.adobe.changes import (
    COLUMN,
    MEMBERS,
    NAMED,
    PATCH,
    SHOWN_ID_CHARS,
    SHOWN_MESSAGE_CHARS,
    operation_of,
    operations_of,
    pointer_of,
    step_of,
    tokens_of,
)
from pipeline.vendors.adobe.job import FallbackOffer, steps_of
from pipeline.vendors.adobe.settings import AdobeSettings
from pipeline.vendors.kit import preconditions
from pipeline.vendors.kit.classify import plain
from pipeline.vendors.kit.contract import State
from pipeline.vendors.kit.json_values import is_json

_NOT_OF_FALLBACKS: Final = frozenset({"rank", "selectionConstraint", "cappingConstraint"})


def warn(job: FallbackOffer) -> tuple[str, ...]:
    """Doubts about a row, each once."""
    return tuple(dict.fromkeys(_doubts(operations_of("dps", job.changes))))


def _doubts(operations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if all(operation["op"] == "test" for operation in operations):
        yield "patch: it only tests, so that nothing changes"
    for operation in operations:
        if extra := operation.keys() - {"op", *MEMBERS[operation["op"]]}:
            known = plain(", ".join(sorted(extra)), SHOWN_ID_CHARS)
            yield f"patch: JSON Patch ignores {known} of {operation['op']}; it is sent as given"
        names = {token.removeprefix("xdm:") for token in tokens_of(operation["path"])}
        # SERVICE; the sample of DPS for creating one sends both all the same
        if operation["op"] != "test" and not names.isdisjoint(_NOT_OF_FALLBACKS):
            where = plain(operation["path"], SHOWN_ID_CHARS)
            yield f"{where}: Adobe says that fallback offers have no rank and no constraints"


# --------------------------------------------------------- what may be sent, and what sent again

_DOCUMENTED: Final[Mapping[str, frozenset[str]]] = {
    "xcore": frozenset({"add", "replace", "remove"}),  # UPDATE
    "dps": frozenset({"add", "replace", "remove", "copy", "test"}),  # DPS
}
_MAX_REASONS = 5


def refuse(s: AdobeSettings, job: FallbackOffer) -> str | None:
    """Everything that this account's API cannot take, in one text."""
    operations = operations_of(s.api, job.changes)
    found = [
        *_misplaced(s, job),
        *_undocumented(s.api, operations),
        *_given_twice(s.api, job.changes),
    ]
    if (
        s.api == "dps"
        and needs_guard(s, job)
        and not preconditions.can_be_guarded(steps_of(s, job))
    ):
        found.append(_UNGUARDED)
    reasons = list(dict.fromkeys(found))
    if len(reasons) > _MAX_REASONS:
        reasons[_MAX_REASONS:] = [f"and {len(reasons) - _MAX_REASONS} more"]
    return "; ".join(reasons) or None


_UNGUARDED: Final = (
    "sent twice, this would not leave the same as sent once, and no test can be read for it: put "
    "one first, in the column patch before all other changes, that no longer holds after them, or "
    "set preconditions = false for the account"
)


def _misplaced(s: AdobeSettings, job: FallbackOffer) -> Iterator[str]:
    given = job.model_fields_set
    if s.api == "dps":
        if "container_id" in given:
            yield "container_id: dps knows an offer by its id alone; leave the cell empty"
        if "etag" in given:
            yield (
                "etag: no If-Match is documented for dps; put a test first instead, in the column "
                'patch, as in [{"op": "test", "path": "/status", "value": "draft"}]'
            )
    elif "container_id" in given and job.container_id not in (s.container_id, *s.containers):
        allowed = ", ".join((s.container_id or "", *s.containers))
        yield (
            f"container_id {plain(job.container_id, SHOWN_ID_CHARS)} is none of this account's "
            f"containers ({allowed}); add it to `containers` of the account, or choose another "
            "account"
        )
    for key in job.changes:
        if key != PATCH and not COLUMN.fullmatch(key) and key not in NAMED[s.api]:
            yield f"{key}: a column of dps; in xcore give a pointer, such as /_instance/xdm:{key}"


def _undocumented(api: str, operations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for operation in operations:
        name = operation["op"]
        if name not in _DOCUMENTED[api]:
            known = ", ".join(sorted(_DOCUMENTED[api]))
            yield f"patch: {api} documents no operation {name}, only {known}"
        for pointer in (operation["path"], operation.get("from", operation["path"])):
            shown = plain(pointer, SHOWN_ID_CHARS) or "an empty pointer"
            if api == "xcore" and not pointer.startswith("/_instance/"):
                yield f"{shown}: pointers of xcore start with /_instance/, as /_instance/xdm:name"
            if api == "dps" and f"{pointer}/".startswith("/_instance/"):
                yield f"{shown}: pointers of dps start at the root, as /name, without /_instance"


def _given_twice(api: str, changes: Mapping[str, Any]) -> Iterator[str]:
    """Two columns that set the same field: it is unknown which one is meant."""
    seen: dict[tuple[str, ...], str] = {}
    for key, value in changes.items():
        operation = None if key == PATCH else operation_of(api, key, value)
        if operation is not None and preconditions.is_harmless(step_of(operation)):
            twin = seen.setdefault(tokens_of(operation["path"]), key)
            if twin != key:
                yield f"{twin} and {key} set the same: keep one of them"


def repeatable(s: AdobeSettings, job: FallbackOffer) -> bool:
    """Each operation sets something to a value, or a guard keeps Adobe from doing it twice."""
    return all(map(preconditions.is_harmless, steps_of(s, job))) or is_guarded(s, job)


def is_guarded(s: AdobeSettings, job: FallbackOffer) -> bool:
    """True if Adobe would refuse the job the second time."""
    if s.api == "xcore":  # SERVICE: an etag that is not the offer's any more gets a 409
        return "etag" in job.model_fields_set
    return preconditions.is_guarded(steps_of(s, job))


def needs_guard(s: AdobeSettings, job: FallbackOffer) -> bool:
    """True if a precondition must be read before the row is sent."""
    return s.preconditions and not repeatable(s, job)


def guarded(s: AdobeSettings, job: FallbackOffer, state: State) -> FallbackOffer | None:
    """Add the etag that was read (xcore), and tests for steps that must not be repeated.

    xcore does not accept tests. The job has them all the same, for a read that resolves doubt.
    """
    tests = preconditions.guards_for(steps_of(s, job), state.fields, is_json)
    operations = [
        *({"op": "test", "path": pointer_of(test.place), "value": test.value} for test in tests),
        *operations_of(s.api, job.changes),
    ]
    changes = {"changes": {PATCH: operations}}
    if s.api == "xcore":
        return job.model_copy(update={**changes, "etag": state.etag}) if state.etag else None
    return job.model_copy(update=changes) if tests else None


def is_guard_refusal(s: AdobeSettings, answer: Answer) -> bool:
    """SERVICE: a stale etag gets a 409. No source has the reply to a failed test."""
    return answer.http_status in ({409, 412} if s.api == "xcore" else {400, 409, 412, 422})


def expected(s: AdobeSettings, job: FallbackOffer) -> str:
    """The state that the row's precondition expects, for a message."""
    if s.api == "xcore":
        return f"etag {job.etag}"
    tests = takewhile(lambda each: each["op"] == "test", operations_of(s.api, job.changes))
    words = (f"{each['path']} = {to_json(each['value']).decode()}" for each in tests)
    return plain(", ".join(words), SHOWN_MESSAGE_CHARS)


def writes(s: AdobeSettings, job: FallbackOffer) -> frozenset[str] | None:
    """The pointers that the row changes; None if it changes the whole document."""
    operations = operations_of(s.api, job.changes)
    pointers = frozenset(each["path"] for each in operations if each["op"] != "test")
    return None if "" in pointers else pointers


def gap(s: AdobeSettings) -> str:
    """The changes that no precondition of this API notices; empty if there are none."""
    if s.api == "xcore":
        return ""
    return (
        "no If-Match is documented for dps: within the round trip before a row is sent, tests in "
        "the patch notice a change of what it writes, and nothing notices another"
    )
