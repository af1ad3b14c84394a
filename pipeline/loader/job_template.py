"""The text that jobs of like rows have in common, with gaps for their opaque cells. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.model import JobRow

TEXTS = ("entity", "job", "path", "body")
"""Columns of a jobs file that a template fills."""

Gaps = tuple[int, ...]
"""The columns whose opaque cells stand between the literals of a text, in order."""


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """The jobs of rows whose other cells are equal.

    gaps           of each of `TEXTS`; None if the jobs have no such text
    literals       around the gaps of each, one more than gaps
    cleared        fields that the vendor will clear
    is_read_first  as in a JobsFile
    """

    gaps: tuple[Gaps | None, ...]
    literals: tuple[tuple[str, ...], ...]
    is_repeatable: bool
    batch: str
    keeps: bool
    cleared: tuple[str, ...]
    is_read_first: bool


def template_of(
    samples: Sequence[JobRow],
    opaque: Sequence[Mapping[int, str]],
    *,
    cleared: tuple[str, ...],
    is_read_first: bool,
) -> JobTemplate | None:
    """The template of rows that differ only in opaque cells; None if their jobs have none.

    samples  jobs of such rows
    opaque   the opaque part of each sample's cells, by column; in the first sample they differ from
             each other and from everything else

    >>> jobs = [JobRow(1, "op", f"e|{n}", True, f'{{"id":"{n}"}}') for n in ("a7", "b8")]
    >>> found = template_of(jobs, [{0: "a7"}, {0: "b8"}], cleared=(), is_read_first=False)
    >>> found.gaps[:2], found.literals[:2]
    (((0,), (0,)), (('e|', ''), ('{"id":"', '"}')))
    """
    first, *others = (_decisions(job) for job in samples)
    if any(other != first for other in others):
        return None
    texts = [_texts(job) for job in samples]
    gaps: list[Gaps | None] = []
    literals: list[tuple[str, ...]] = []
    for text, *rest in zip(*texts, strict=True):
        if text is None or any(other is None for other in rest):
            if text is not None or any(rest):
                return None
            gaps.append(None)
            literals.append(())
            continue
        around, between = _split(text, opaque[0])
        for filled, cells in zip((text, *rest), opaque, strict=True):
            if filled != _joined(around, between, cells):
                return None
        gaps.append(between)
        literals.append(around)
    job = samples[0]
    return JobTemplate(
        gaps=tuple(gaps),
        literals=tuple(literals),
        is_repeatable=job.is_repeatable,
        batch=job.batch,
        keeps=job.keeps,
        cleared=cleared,
        is_read_first=is_read_first,
    )


def _decisions(job: JobRow) -> JobRow:
    return job._replace(entity="", text="", path=None, body=None)


def _texts(job: JobRow) -> tuple[str | None, ...]:
    return job.entity, job.text, job.path, None if job.body is None else job.body.decode()


def _split(text: str, cells: Mapping[int, str]) -> tuple[tuple[str, ...], Gaps]:
    """The literals of a text, and the columns of the opaque values between them."""
    columns = {value: column for column, value in cells.items()}
    if not columns:
        return (text,), ()
    parts = re.split("(" + "|".join(map(re.escape, columns)) + ")", text)
    return tuple(parts[::2]), tuple(columns[value] for value in parts[1::2])


def _joined(literals: Sequence[str], gaps: Gaps, cells: Mapping[int, str]) -> str:
    filled = (cells[column] + literal for column, literal in zip(gaps, literals[1:], strict=True))
    return literals[0] + "".join(filled)
