from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporter.outputs import CsvLayout, CsvWriter, _row_group_rows, csv_header
from tests.reporter.runs import snapshot, text_frame

# what a snapshot can hold: any text but NUL and lone surrogates
CELLS = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("\",;|\t\r\n\\' #\ufeff"),
    max_size=8,
)
LAYOUTS = st.builds(
    CsvLayout,
    delimiter=st.sampled_from(",;\t|"),
    newline=st.sampled_from(["\n", "\r\n"]),
    has_bom=st.booleans(),
)


@given(
    layout=LAYOUTS,
    header=st.lists(
        st.text(st.sampled_from('aB ",;|\t\n\r.é'), max_size=5), min_size=2, max_size=2
    ),
    rows=st.lists(st.tuples(CELLS, CELLS, st.just("updated")), max_size=6),
)
def test_any_cells_come_back_as_they_were(
    layout: CsvLayout, header: list[str], rows: list[tuple[str | None, str | None, str]]
) -> None:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    frame = text_frame(dict(zip("abc", columns, strict=True)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "success.csv"
        with CsvWriter(path, [*header, "_status"], layout) as writer:
            writer.write(frame)
            writer.write(frame)
        encoding = "utf-8-sig" if layout.has_bom else "utf-8"
        with path.open(newline="", encoding=encoding) as file:
            found = list(csv.reader(file, delimiter=layout.delimiter, strict=True))
    expected = [[cell or "" for cell in row] for row in rows]
    assert found == [[*header, "_status"], *expected, *expected]
    assert writer.rows == 2 * len(rows)


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        (["007", " x ", "'y'"], "007, x ,'y'"),  # nothing to quote, nothing changed
        (["", None, "z"], ",,z"),  # the input had nothing there
        (["a,b", 'a"b', "a;b"], '"a,b","a""b",a;b'),  # only what must be
        (["=1+1", "-5", "@x"], "=1+1,-5,@x"),  # the input's own cells are not touched
    ],
)
def test_cells_are_written_as_they_would_be_by_hand(
    tmp_path: Path, cells: list[str | None], line: str
) -> None:
    frame = text_frame({name: [cell] for name, cell in zip("abc", cells, strict=True)})
    path = tmp_path / "x.csv"
    with CsvWriter(path, "abc", CsvLayout(delimiter=",", newline="\r\n", has_bom=False)) as writer:
        writer.write(frame)
    assert path.read_bytes() == f"a,b,c\r\n{line}\r\n".encode()


def test_a_header_is_quoted_where_it_must_be() -> None:
    layout = CsvLayout(delimiter=";", newline="\n", has_bom=False)
    assert csv_header(["a;b", "c,d", 'e"f', ""], layout) == b'"a;b";c,d;"e""f";\n'


def test_a_result_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with CsvWriter(path, "a", CsvLayout(delimiter=",", newline="\n", has_bom=False)):
        pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_long_rows_are_all_written(tmp_path: Path) -> None:
    cells = [str(row) * 300_000 for row in range(1, 60)]
    path = tmp_path / "x.csv"
    with CsvWriter(path, "a", CsvLayout(delimiter=",", newline="\n", has_bom=False)) as writer:
        writer.write(text_frame({"a": cells}))
    assert path.read_text().splitlines() == ["a", *cells]


@pytest.mark.parametrize(
    ("cell_chars", "rows", "least", "most"),
    [
        (10, 200, 16_384, 16_384),  # ordinary rows
        (100_000, 200, 16, 1_000),  # long ones: a row group is held until it is written
        (10, 0, 16_384, 16_384),  # none at all
    ],
)
def test_row_groups_suit_the_rows(
    tmp_path: Path, cell_chars: int, rows: int, least: int, most: int
) -> None:
    taken = snapshot(tmp_path, text_frame({"a": ["x" * cell_chars] * rows}))
    assert least <= _row_group_rows(taken.path) <= most
