"""The job: one fallback offer and its changes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.model import Cell, CellKind, UpdateJob
from pipeline.model.validation import value_error
from pipeline.vendors.adobe.changes import PATCH, checked, operations_of, step_of
from pipeline.vendors.adobe.settings import AdobeSettings
from pipeline.vendors.kit import compare
from pipeline.vendors.kit.contract import ABSENT
from pipeline.vendors.kit.json_values import is_whole


def _segment(text: str) -> str:
    # `.` and `..` as a path segment mean another address to every URL parser (RFC 3986, 5.2.4)
    if text in ("", ".", "..") or not is_whole(text):
        raise value_error("expected an id, for example b3966680-13ec-11eb-9c20-8323709cfc65")
    return text


# RFC 9110, 8.8.3: any visible ASCII but the quotes around it. Bounded, for it travels in a header
_ETAG = re.compile(r'("?)([!#-~]{1,200})\1')


def _etag(value: Any) -> str:
    """Opaque (RFC 9110): UPDATE and DPS show whole numbers, SERVICE sends them in quotes.

    >>> _etag('"3"'), _etag(3), _etag("a1-f0")
    ('3', '3', 'a1-f0')
    """
    text = str(value) if type(value) is int else value
    found = _ETAG.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise value_error(
            "expected the etag as Adobe gave it, as in 3: 1 to 200 visible ASCII characters"
        )
    return found[2]


def etag_or_none(value: Any) -> str | None:
    """The etag in the form of `_etag`; None if it is none."""
    try:
        return _etag(value)
    except PydanticCustomError:
        return None


def _text_cell(help_: str, example: str) -> Cell:
    return Cell(CellKind.TEXT, help=help_, example=example, is_opaque=True)


class FallbackOffer(UpdateJob):
    """Changes of one fallback offer.

    changes  JSON values by the column that gave them, in column order: `status`, `name`,
             `description`, `patch`, a JSON Pointer (replaces), or one after `add:` or `remove:`
    """

    instance_id: Annotated[
        str,
        AfterValidator(_segment),
        Cell(
            CellKind.ID,
            help="The offer to update: its id (dps), its instance id (xcore).",
            example="b3966680-13ec-11eb-9c20-8323709cfc65",
            is_opaque=True,
        ),
    ]
    container_id: Annotated[
        str,
        AfterValidator(_segment),
        Cell(
            CellKind.ID,
            help="xcore: the container, if it is not the account's own; one of `containers`.",
            example="e0bd8463-0913-4ca1-bd84-6309134ca1f6",
        ),
    ] = ABSENT
    etag: Annotated[
        str,
        BeforeValidator(_etag),
        Cell(
            CellKind.ID,
            help="xcore: update only if the offer still has this etag, as Adobe gave it.",
            example="2",
        ),
    ] = ABSENT
    changes: Annotated[
        dict[str, Any],
        BeforeValidator(checked),
        Field(validate_default=True),  # so that a row without changes gets its own message
        Cell(
            CellKind.MAP,
            help="What changes: a column for each change, sent in the order of the columns.",
            example='{"status": "approved"}',
            is_spread=True,
            members=(
                (
                    "status",
                    Cell(CellKind.KEYWORD, help="draft, approved or archived.", example="approved"),
                ),
                ("name", _text_cell("dps: the name.", "Summer")),
                ("description", _text_cell("dps: the description.", "For everyone")),
                (
                    PATCH,
                    Cell(
                        CellKind.LIST,
                        help="Operations of JSON Patch, for values that are no text.",
                        example='[{"op": "replace", "path": "/labels", "value": []}]',
                    ),
                ),
                (
                    "/*",
                    _text_cell(
                        "A header such as /name, in xcore /_instance/xdm:name: replaces it.",
                        "Summer",
                    ),
                ),
                (
                    "add:/*",
                    _text_cell("A header such as add:/labels/-: adds this text there.", "summer"),
                ),
                (
                    "remove:/*",
                    Cell(
                        CellKind.BOOLEAN,
                        help="A header such as remove:/labels/0: true removes it.",
                        example="true",
                    ),
                ),
            ),
        ),
    ] = ABSENT


def steps_of(s: AdobeSettings, job: FallbackOffer) -> list[compare.PatchStep]:
    """The JSON Patch of a row, as `kit` compares and applies it."""
    return list(map(step_of, operations_of(s.api, job.changes)))
