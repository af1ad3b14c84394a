"""Makes the jobs of plain rows by columns.

Rows are alike if they differ only in opaque cells (`opaque_cells.py`). One of them, with samples of
opaque values, goes the careful way of all rows; if it has neither faults nor warnings, the texts of
its job are a template, and polars fills in the cells of all rows that are alike. Every other row
goes the careful way itself: that alone judges, and is the source of all messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import polars as pl

from pipeline.jobs.jobs_file import JOBS_SCHEMA
from pipeline.loader.job_template import TEXTS, Gaps, JobTemplate, template_of
from pipeline.loader.make_job import JobMaker
from pipeline.loader.opaque_cells import (
    CLOSED,
    END,
    FEW_SAMPLES,
    SAMPLES,
    WHOLE,
    OpaqueCell,
    can_be_opaque,
    closed_text,
    form_of,
    moments,
    opaque_text,
)
from pipeline.loader.rows import ReadRow
from pipeline.model import ROW_COLUMN, CellKind, JobRow
from pipeline.store.frame_values import cells_of

MIN_ALIKE = 4
"""Rows that are alike before a template is made, which costs as much as making their jobs."""
MAX_TEMPLATES = 4_096
MAX_CLOSED_BYTES = 2_048
MAX_DATES = 3
_EARLIER, _EQUAL, _LATER = 1, 2, 3
_MAX_SEEN = 16_384
_SKIPPED_FRAMES = 7
_WORTH_IT = 8  # one row in so many is plain, else some frames go the careful way
_MAX_SHAPES = 64
_PER_SHAPE = 1 << 32  # more than there are templates

_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # the last is no Exception

Key = tuple[Any, ...]
_Shape = tuple[Gaps | None, ...]


@dataclass(slots=True)
class PlainRows:
    """The jobs of the plain rows of a frame.

    jobs     in the order of the frame
    others   indexes of the other rows, ascending
    cleared  by field: the first row that leaves it out, its place in that row, number of rows
    reads    jobs whose entity is read first
    """

    jobs: pl.DataFrame
    others: Sequence[int]
    cleared: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    reads: int = 0


class _Shaped:
    """The templates of one shape, with their literals as a frame."""

    def __init__(self, shape: _Shape) -> None:
        self.shape = shape
        self._rows: list[tuple[Any, ...]] = []
        self._frame: pl.DataFrame | None = None

    def add(self, template: JobTemplate) -> int:
        literals = [text for some in template.literals for text in some]
        self._rows.append((template.is_repeatable, template.batch, template.keeps, *literals))
        self._frame = None
        return len(self._rows) - 1

    def frame(self) -> pl.DataFrame:
        if self._frame is None:
            columns = list(zip(*self._rows, strict=True))
            names = ["repeatable", "batch", "keeps", *(f"l{n}" for n in range(len(columns) - 3))]
            kinds = [pl.Boolean, pl.String, pl.Boolean, *[pl.String] * (len(columns) - 3)]
            series = map(pl.Series, names, columns, kinds)
            self._frame = pl.DataFrame(list(series))
        return self._frame

    def texts(self) -> Iterator[pl.Expr]:
        """The columns of a jobs file that templates fill."""
        literal = 0
        for name, gaps in zip(TEXTS, self.shape, strict=True):
            if gaps is None:
                yield pl.lit(None, dtype=JOBS_SCHEMA[name]).alias(name)
                continue
            parts = [pl.col(f"l{literal}")]
            for number, column in enumerate(gaps, 1):
                parts += [pl.col(f"t{column}"), pl.col(f"l{literal + number}")]
            literal += len(gaps) + 1
            yield pl.concat_str(parts).cast(JOBS_SCHEMA[name]).alias(name)


class _Known(NamedTuple):
    """A template, with the number of its shape and its number among those of that shape."""

    shape: int
    number: int
    template: JobTemplate


class PlainBinder:
    """Finds and binds the plain rows of one operation through one account, frame by frame.

    is_read_first  True if the entity of a job is read before it is sent
    """

    def __init__(self, maker: JobMaker, is_read_first: Callable[[JobRow], bool]) -> None:
        self._maker = maker
        self._is_read_first = is_read_first
        self._columns = maker.reader.plan.columns
        self._sources = maker.reader.sources
        self._opaque: dict[int, CellKind] = {}
        self._dates: list[int] = []
        self._is_usable = any(can_be_opaque(column.field.cell) for column in self._columns)
        self._is_new = True
        self._skipped = 0
        self._forget()

    def _start(self, frame: pl.DataFrame) -> None:
        """Find the columns with opaque cells, which hold text or whole numbers."""
        self._is_new = False
        for number, column in enumerate(self._columns):
            if can_be_opaque(column.field.cell) and _is_text(self._series(frame, number).dtype):
                self._opaque[number] = column.field.cell.kind
        dates = [number for number, kind in self._opaque.items() if kind is CellKind.DATE]
        for number in dates[MAX_DATES:]:
            del self._opaque[number]
        self._dates = dates[:MAX_DATES]
        self._is_usable = CellKind.ID in self._opaque.values()

    def _series(self, frame: pl.DataFrame, number: int) -> pl.Series:
        header, member = self._sources[number]
        return frame[header] if member is None else frame[header].struct.field(member)

    def _forget(self) -> None:
        self._templates: dict[Key, _Known | None] = {}
        self._seen: dict[int, int] = {}
        self._forms: set[tuple[OpaqueCell, ...]] = set()
        self._shapes: dict[_Shape, int] = {}
        self._shaped: list[_Shaped] = []

    def bind(self, frame: pl.DataFrame) -> PlainRows | None:
        """The jobs of the plain rows; None if no row of the frame was looked at.

        If polars fails, this frame and all later ones go the careful way, which needs less of it.
        """
        try:
            return self._plain_rows(frame)
        except _FAILURES:
            self._is_usable = False
            return None

    def _plain_rows(self, frame: pl.DataFrame) -> PlainRows | None:
        if self._is_usable and self._is_new:
            self._start(frame)
        if not self._is_usable:
            return None
        if self._skipped:
            self._skipped -= 1
            return None
        cells = self._cells(frame)
        if cells is None:
            self._is_usable = False
            return None
        found = self._bind(frame, cells)
        if len(found.others) * _WORTH_IT > frame.height * (_WORTH_IT - 1):
            self._skipped = _SKIPPED_FRAMES
        return found

    def _cells(self, frame: pl.DataFrame) -> list[pl.Series] | None:
        """The columns as values that are equal if their cells are; None if one has no such form."""
        found = []
        for number in range(len(self._columns)):
            comparable = _comparable(self._series(frame, number))
            if comparable is None:
                return None
            found.append(comparable.alias(f"c{number}"))
        return found

    def _bind(self, frame: pl.DataFrame, cells: list[pl.Series]) -> PlainRows:
        keyed = self._keyed(frame, cells)
        names = [name for name in keyed.columns if name[0] in "kfr"]
        groups = keyed.filter("is_candidate").group_by(names, maintain_order=True).agg("index")
        groups = groups[self._frequent(groups.select(names), groups["index"].list.len())]
        keys: list[Key] = groups.select(names).rows()
        firsts = groups["index"].list.first()
        self._learn(names, keys, frame, firsts)
        plain = PlainRows(pl.DataFrame(schema=JOBS_SCHEMA), ())
        rows = frame[ROW_COLUMN][firsts].to_list()
        sizes = groups["index"].list.len().to_list()
        chosen = [
            self._choose(self._templates.get(key), plain, row, size)
            for key, row, size in zip(keys, rows, sizes, strict=True)
        ]
        self._fill(plain, keyed, groups.select("index"), chosen, frame)
        if len(self._templates) > MAX_TEMPLATES:
            self._forget()
        return plain

    def _choose(self, known: _Known | None, plain: PlainRows, row: int, rows: int) -> int:
        """The number of a template for some rows, counted in `plain`; -1 without a template.

        row  number of the first of them
        """
        if known is None:
            return -1
        plain.reads += rows * known.template.is_read_first
        for place, name in enumerate(known.template.cleared):
            first, before, count = plain.cleared.get(name, (row, place, 0))
            plain.cleared[name] = (*min((first, before), (row, place)), count + rows)
        return known.shape * _PER_SHAPE + known.number

    def _frequent(self, keys: pl.DataFrame, sizes: pl.Series) -> list[int]:
        """The numbers of the keys that were seen often enough to have a template.

        Keys are counted by their hashes: two that are taken for one get a template too early.
        """
        frequent = []
        hashes = keys.hash_rows().to_list()
        for number, (key, size) in enumerate(zip(hashes, sizes.to_list(), strict=True)):
            seen = self._seen.get(key, 0) + size
            if seen >= MIN_ALIKE:
                frequent.append(number)
            self._seen[key] = min(seen, MIN_ALIKE)
        if len(self._seen) > _MAX_SEEN:
            self._seen = {key: seen for key, seen in self._seen.items() if seen >= MIN_ALIKE}
        return frequent

    def _learn(
        self, names: Sequence[str], keys: Sequence[Key], frame: pl.DataFrame, firsts: pl.Series
    ) -> None:
        """Make the templates of new keys.

        firsts  index of a row of each key
        """
        new = [number for number, key in enumerate(keys) if key not in self._templates]
        if not new:
            return
        cells = cells_of(frame[firsts[new]], self._sources)
        named = [dict(zip(names, keys[number], strict=True)) for number in new]
        for number, template in zip(new, self._made(named, cells), strict=True):
            self._templates[keys[number]] = None if template is None else self._known(template)

    def _known(self, template: JobTemplate) -> _Known | None:
        shape = self._shapes.get(template.gaps)
        if shape is None:
            if len(self._shaped) >= _MAX_SHAPES:
                return None
            shape = self._shapes[template.gaps] = len(self._shaped)
            self._shaped.append(_Shaped(template.gaps))
        return _Known(shape, self._shaped[shape].add(template), template)

    def _keyed(self, frame: pl.DataFrame, cells: list[pl.Series]) -> pl.DataFrame:
        """Key columns k, f and r, the opaque texts t, and which rows may be plain."""
        exprs: list[pl.Expr] = []
        for number, kind in self._opaque.items():
            form = form_of(kind, pl.col(f"c{number}"))
            exprs.append(form.fill_null(CLOSED).alias(f"f{number}"))
        keyed = pl.DataFrame(cells).with_columns(exprs)
        exprs = []
        fits = pl.lit(value=True)
        for number in range(len(self._columns)):
            cell = pl.col(f"c{number}")
            kind_or_none = self._opaque.get(number)
            if kind_or_none is None:
                exprs.append(cell.alias(f"k{number}"))
            else:
                form = pl.col(f"f{number}")
                exprs.append(closed_text(kind_or_none, cell, form).alias(f"k{number}"))
                exprs.append(opaque_text(kind_or_none, cell, form).alias(f"t{number}"))
        keyed = keyed.select(*exprs, *(f"f{number}" for number in self._opaque))
        for number in range(len(self._columns)):
            if keyed[f"k{number}"].dtype == pl.String:
                fits &= pl.col(f"k{number}").str.len_bytes().fill_null(0) <= MAX_CLOSED_BYTES
        orders = list(self._orders())
        for header in self._maker.reader.plan.foreign:
            empty = frame[header].is_null()
            if frame[header].dtype == pl.String:
                empty |= frame[header] == ""
            fits &= empty
        return keyed.with_columns(
            *orders, fits.alias("is_candidate"), pl.int_range(pl.len()).alias("index")
        )

    def _orders(self) -> Iterator[pl.Expr]:
        """The order of each two dates; 0 if one of them is not opaque."""
        for place, one in enumerate(self._dates):
            for other in self._dates[place + 1 :]:
                first, second = (moments(pl.col(f"t{n}")) for n in (one, other))
                both = (pl.col(f"f{one}") == WHOLE) & (pl.col(f"f{other}") == WHOLE)
                earlier = pl.when(first < second).then(_EARLIER)
                order = earlier.when(first > second).then(_LATER).otherwise(_EQUAL)
                yield pl.when(both).then(order).otherwise(0).cast(pl.Int8).alias(f"r{one}_{other}")

    def _made(
        self, keys: Sequence[dict[str, Any]], cells: Sequence[Sequence[Any]]
    ) -> Iterator[JobTemplate | None]:
        """The template of the rows of each key; None if they are not plain.

        cells  of one row for each key, by column
        """
        samples = [self._samples(key) for key in keys]
        columns: list[list[Any]] = [
            [
                value
                for each, key, cell in zip(samples, keys, column, strict=True)
                for value in _with_samples(number, each, key, cell)
            ]
            for number, column in enumerate(cells)
        ]
        foreign = [[None] * len(columns[0]) for _ in self._maker.reader.plan.foreign]
        read = self._maker.reader.read(columns, foreign)
        for some in samples:
            yield self._one(some, list(islice(read, len(some))))

    def _samples(self, key: dict[str, Any]) -> list[dict[int, str]]:
        """Opaque values for the cells of a row: all samples for the first row of its form."""
        opaque = [
            OpaqueCell(number, kind, key[f"f{number}"], self._rank(number, key))
            for number, kind in self._opaque.items()
            if key[f"f{number}"] != CLOSED
        ]
        form = tuple(opaque)
        count = FEW_SAMPLES if form in self._forms else SAMPLES
        self._forms.add(form)
        texts = [(cell.column, cell.samples()) for cell in opaque]
        return [{column: some[number] for column, some in texts} for number in range(count)]

    def _one(self, samples: list[dict[int, str]], rows: Sequence[ReadRow]) -> JobTemplate | None:
        jobs: list[JobRow] = []
        for row in rows:
            made = self._maker.make(0, row)
            if made.job is None or made.warnings or made.is_irreversible:
                return None
            jobs.append(made.job)
        reads = set(map(self._is_read_first, jobs))
        cleared = {row.cleared for row in rows}
        if len(cleared) > 1 or len(reads) > 1:
            return None
        return template_of(jobs, samples, cleared=cleared.pop(), is_read_first=reads.pop())

    def _rank(self, number: int, key: dict[str, Any]) -> int:
        """How many other opaque dates of the row are earlier."""
        if number not in self._dates:
            return 0
        orders = [
            *(key.get(f"r{other}_{number}") == _EARLIER for other in self._dates),
            *(key.get(f"r{number}_{other}") == _LATER for other in self._dates),
        ]
        return sum(orders)

    def _fill(
        self,
        plain: PlainRows,
        keyed: pl.DataFrame,
        groups: pl.DataFrame,
        chosen: Sequence[int],
        frame: pl.DataFrame,
    ) -> None:
        """Fill the templates that were chosen for the groups with the cells of their rows."""
        picked = (
            groups.with_columns(pl.Series("template", chosen, dtype=pl.Int64))
            .filter(pl.col("template") >= 0)
            .explode("index")
        )
        parts = []
        for (shape,), rows in picked.group_by(pl.col("template") // _PER_SHAPE):
            shaped = self._shaped[shape]
            in_order = rows.sort("index")
            indexes, order = in_order["index"], in_order["template"] % _PER_SHAPE
            part = pl.concat(
                [
                    keyed.select(name for name in keyed.columns if name[0] == "t")[indexes],
                    shaped.frame()[order],
                    frame.select(pl.col(ROW_COLUMN).cast(pl.Int64).alias("row"))[indexes],
                ],
                how="horizontal",
            ).with_columns(*shaped.texts())
            parts.append(part)
        plain.others = _others(frame.height, picked["index"])
        if parts:
            named = {
                "operation": pl.lit(self._maker.operation.name),
                **{
                    name: pl.lit(None, dtype=JOBS_SCHEMA[name])
                    for name in ("since_run", "since_row", "expects")
                },
            }
            whole = [part.with_columns(**named).select(*JOBS_SCHEMA) for part in parts]
            plain.jobs = (pl.concat(whole).sort("row") if len(whole) > 1 else whole[0]).rechunk()


def _others(rows: int, taken: pl.Series) -> list[int]:
    """The indexes of the rows that are not taken, ascending."""
    if len(taken) == rows:
        return []
    is_other = pl.select(~pl.int_range(rows).is_in(taken.implode())).to_series()
    return is_other.arg_true().to_list()


def _with_samples(
    column: int, samples: Sequence[dict[int, str]], key: dict[str, Any], cell: Any
) -> list[Any]:
    """The cell of a row in each of its samples."""
    if column not in samples[0]:
        return [cell] * len(samples)
    stem = key[f"k{column}"] if key[f"f{column}"] == END else ""
    return [stem + sample[column] for sample in samples]


def _is_text(dtype: pl.DataType) -> bool:
    """True if the text of a value is read as the value itself is."""
    return dtype == pl.String or dtype.is_integer()


_AS_TEXT = pl.Boolean | pl.Null | pl.Categorical | pl.Enum | pl.Decimal


def _comparable(column: pl.Series) -> pl.Series | None:
    """The cells as text or numbers that are equal only if the cells are; None if there are none."""
    dtype = column.dtype
    if dtype == pl.String:
        return column
    if dtype.is_numeric() or isinstance(dtype, _AS_TEXT):
        return column.cast(pl.String)
    if isinstance(dtype, pl.Datetime | pl.Date):
        return column.to_physical()
    if dtype.is_nested() and _is_plain(dtype):
        return column.to_frame("cell").to_struct("cell").struct.json_encode()
    return None


def _is_plain(dtype: Any) -> bool:
    """True if the JSON of values of a nested type tells all of them apart."""
    if isinstance(dtype, pl.Struct):
        return all(_is_plain(inner.dtype) for inner in dtype.fields)
    if isinstance(dtype, pl.List | pl.Array):
        return _is_plain(dtype.inner)
    return bool(isinstance(dtype, pl.String | pl.Boolean) or dtype.is_integer())
