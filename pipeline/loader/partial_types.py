"""The type of a job of which a row gives a part: the rest stays as the vendor has it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import create_model

from pipeline.loader.fields import fields_of
from pipeline.model import CellKind, UpdateJob


@cache
def part_of(job_type: type[UpdateJob]) -> type[UpdateJob]:
    """`job_type`, but for its ids none of its fields has to be given.

    What is given is checked as ever, and its text is read back as a `job_type`.
    """
    loose: dict[str, Any] = {}
    for name, field in fields_of(job_type).items():
        info = job_type.model_fields[name]
        if field.is_required and field.cell.kind is not CellKind.ID:
            loose[name] = Annotated[(info.annotation, *info.metadata)], None
    return create_model(job_type.__name__, __base__=job_type, **loose)
