import gzip
import hashlib
import io
import os
import random
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from pipeline.jobs.snapshot_file import to_metadata
from pipeline.loader.ingest import ingest
from pipeline.loader.selection import RowSelection, parse_rows
from pipeline.model import InputError, Snapshot
from pipeline.store.parquet import read_frames, read_metadata

TEXT = b'\xef\xbb\xbfid;name\r\n1;x\r\n;\r\n2;"y\r\nz"\r\n3;\r\n'
ROWS = [(1, 2, "1", "x"), (2, 4, "2", "y\r\nz"), (3, 6, "3", "")]


def packed(content: bytes) -> bytes:
    """The same gzip at any time: gzip.compress writes the present second into its head."""
    return gzip.compress(content, mtime=0)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def rows_of(snapshot: Snapshot) -> list[tuple[object, ...]]:
    return [row for frame in read_frames(snapshot.path) for row in frame.rows()]


def refusal(source: Path, **options: object) -> str:
    snapshot = source.with_name("snapshot.parquet")
    with pytest.raises(InputError) as caught:
        ingest(source, snapshot, **options)  # type: ignore[arg-type]
    assert not snapshot.exists()
    assert all(fault.file == str(source) for fault in caught.value.faults)
    return str(caught.value)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV.GZ", "a.b [1].csv"])
def test_a_snapshot_has_the_rows_and_the_facts(
    put: Callable[[str, bytes], Path], tmp_path: Path, name: str, chunk_bytes: int
) -> None:
    is_compressed = name.lower().endswith("gz")
    stored = packed(TEXT) if is_compressed else TEXT
    source = put(name, stored)
    taken = ingest(source, tmp_path / "s.parquet", chunk_bytes=chunk_bytes)
    assert taken == Snapshot(
        path=tmp_path / "s.parquet",
        source=source,
        kind="csv",
        is_compressed=is_compressed,
        sha256=hashlib.sha256(stored).hexdigest(),
        size_bytes=len(stored),
        columns=("id", "name"),
        rows=3,
        selected=3,
        blank_lines=1,
        delimiter=";",
        has_bom=True,
        newline="\r\n",
        checksum=taken.checksum,
    )
    assert taken.checksum
    assert rows_of(taken) == ROWS
    assert to_metadata(taken).items() <= read_metadata(taken.path).items()
    assert stat.S_IMODE(taken.path.stat().st_mode) == 0o600


def test_a_header_without_rows_is_a_snapshot_without_rows(
    put: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    taken = ingest(put("a.csv", b"id,name\n"), tmp_path / "s.parquet")
    assert (taken.rows, taken.columns, rows_of(taken)) == (0, ("id", "name"), [])
    assert to_metadata(taken).items() <= read_metadata(taken.path).items()


def test_gzip_may_have_several_members_and_padding(
    put: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    stored = packed(TEXT[:20]) + packed(b"") + packed(TEXT[20:]) + b"\0" * 512
    for chunk_bytes in (1, 3, 1 << 20):
        taken = ingest(put("a.csv.gz", stored), tmp_path / "s.parquet", chunk_bytes=chunk_bytes)
        assert rows_of(taken) == ROWS


PACKED = packed(b"id,name\n" + b"".join(b"%d,n%d\n" % (n, n * n) for n in range(2000)))
PARQUET = b"PAR1" + b"\0" * 40 + b"PAR1"
ZIP = b"PK\x03\x04" + b"\0" * 26
UMLAUT = "id,name\n1,\N{LATIN SMALL LETTER A WITH DIAERESIS}\n"

NOT_WHAT_THE_NAME_SAYS = {  # name, content, parts of the message
    "an empty CSV": ("a.csv", b"", ("is empty: zero bytes",)),
    "an empty Parquet": ("a.parquet", b"", ("is empty: zero bytes",)),
    "a CSV that is Parquet": ("a.csv", PARQUET, ("is parquet, not text", "name it .parquet")),
    "a CSV that is gzip": ("a.csv", PACKED, ("is gzip, not text", "name it .csv.gz")),
    "a gzip that is text": ("a.csv.gz", TEXT, ("is text, not gzip", "name it .csv")),
    "a gzip of Parquet": ("a.csv.gz", packed(PARQUET), ("is parquet inside of the gzip",)),
    "a gzip of gzip": ("a.csv.gz", packed(PACKED), ("is gzip inside of the gzip",)),
    "a gzip of nothing": ("a.csv.gz", packed(b""), ("no header",)),
    "a Parquet that is text": ("a.parquet", TEXT, ("is text, not parquet", "name it .csv")),
    "a CSV that is a workbook": (
        "a.csv",
        ZIP + b"[Content_Types].xml",
        ("Excel", "CSV UTF-8"),
    ),
    "a CSV that is a zip": ("a.csv", ZIP + b"a.csv", ("is zip, not text",)),
    "a workbook": ("a.xlsx", b"PK\x03\x04", ("is a spreadsheet", "Save as, CSV UTF-8")),
    "an old workbook": ("a.XLS", b"\xd0\xcf\x11\xe0", ("is a spreadsheet",)),
    "an unknown ending": ("a.json", b"{}", ("has the ending '.json'", ".csv.gz or .parquet")),
    "NUL bytes": ("a.csv", bytes(9000), ("starts with NUL bytes", "upload it again")),
    "a gzip of NUL bytes": ("a.csv.gz", packed(bytes(9000)), ("NUL bytes inside of the gzip",)),
    "padded with NUL bytes": (
        "a.csv",
        TEXT + bytes(9000),
        ("row 4 (line 7)", f"a NUL byte at offset {len(TEXT)}: the file ends in 9000 NUL bytes"),
    ),
    "no ending": ("a", b"a,b\n", ("has no ending",)),
    "a login page, saved": ("a.csv", b"<!DOCTYPE html><html>", ("is HTML or XML",)),
    "UTF-16": ("a.csv", UMLAUT.encode("utf-16"), ("UTF-16LE, not UTF-8", "iconv -f UTF-16LE ")),
    "UTF-16BE": ("a.csv", UMLAUT.encode("utf-16-be"), ("UTF-16BE", "iconv -f UTF-16BE ")),
    "UTF-32": ("a.csv", UMLAUT.encode("utf-32"), ("UTF-32LE", "iconv -f UTF-32LE ")),
    "a gzip of UTF-16": (
        "a.csv.gz",
        packed("id,name\n".encode("utf-16")),
        ("gzip -dc ", "| iconv -f UTF-16LE "),
    ),
    "Latin-1": (
        "a.csv",
        UMLAUT.encode("latin-1"),
        ("iconv -f WINDOWS-1252 -t UTF-8 ", "row 1"),
    ),
    "a gzip cut in half": ("a.csv.gz", PACKED[: len(PACKED) // 2], ("is cut",)),
    "a gzip without its trailer": ("a.csv.gz", PACKED[:-8], ("is cut",)),
    "a gzip without its last byte": ("a.csv.gz", PACKED[:-1], ("is cut",)),
    "a gzip with a wrong checksum": (
        "a.csv.gz",
        PACKED[:-8] + b"\0" * 8,
        ("is broken", "incorrect"),
    ),
    "a gzip with garbage at its end": ("a.csv.gz", PACKED + b"garbage", ("is broken",)),
    "a gzip whose second member is cut": ("a.csv.gz", PACKED + PACKED[:40], ("is cut",)),
    "a Parquet of zeros": ("a.parquet", PARQUET, ("is not whole, or not Parquet",)),
}


@pytest.mark.parametrize(
    ("name", "content", "parts"), NOT_WHAT_THE_NAME_SAYS.values(), ids=NOT_WHAT_THE_NAME_SAYS
)
def test_a_file_that_is_not_what_it_should_be_is_refused(
    put: Callable[[str, bytes], Path], name: str, content: bytes, parts: tuple[str, ...]
) -> None:
    message = refusal(put(name, content))
    assert all(part in message for part in parts), message


def test_a_path_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    assert "is a pipe or device, not a file. Write it to a file first" in refusal(Path("/dev/null"))
    assert "there is no such file" in refusal(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    assert "is a folder" in refusal(tmp_path / "b.csv")
    os.mkfifo(tmp_path / "c.csv")
    assert "is a pipe" in refusal(tmp_path / "c.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(put: Callable[[str, bytes], Path]) -> None:
    path = put("a.csv", TEXT)
    path.chmod(0)
    assert "no permission" in refusal(path)


def test_a_file_that_packs_too_well_is_refused(put: Callable[[str, bytes], Path]) -> None:
    member = packed(b"1,22222222222\n" * 100_000)
    stored = packed(b"id,name\n") + member * 60
    assert "bytes of gzip unpack to more than" in refusal(put("a.csv.gz", stored))


def test_a_parquet_file_that_packs_too_well_is_refused(put: Callable[[str, bytes], Path]) -> None:
    stored = io.BytesIO()
    pl.DataFrame({"id": ["x" * 1000]}).select(
        pl.col("id").repeat_by(100_000).explode()
    ).write_parquet(stored)
    assert len(stored.getvalue()) < 100_000
    assert "bytes of Parquet unpack to more than" in refusal(put("a.parquet", stored.getvalue()))


def test_a_file_that_is_still_written_is_refused(put: Callable[[str, bytes], Path]) -> None:
    source = put("a.csv", b"id,name\n" + b"1,2\n" * 300_000)
    later = source.stat().st_mtime + 5

    class Touching(RowSelection):
        __slots__ = ()

        def only(self, frame: pl.DataFrame) -> pl.DataFrame:
            os.utime(source, (later, later))
            return frame

    assert "changed while it was read" in refusal(source, rows=Touching(((1, 9),)))


def numbered(count: int) -> bytes:
    return b"id,name\n" + b"".join(b"%d,x\n\n" % n for n in range(1, count + 1))


@pytest.mark.parametrize(
    ("selection", "rows"),
    [
        (RowSelection.first(2), [1, 2]),
        (RowSelection.first(100), list(range(1, 31))),  # a limit may be beyond the end
        (parse_rows("17"), [17]),
        (parse_rows("3,1,29-99"), [1, 3, 29, 30]),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [16, 1 << 20])
def test_only_selected_rows_are_kept_with_their_numbers(
    put: Callable[[str, bytes], Path],
    tmp_path: Path,
    selection: RowSelection,
    rows: list[int],
    chunk_bytes: int,
) -> None:
    source = put("a.csv", numbered(30))
    taken = ingest(source, tmp_path / "s.parquet", rows=selection, chunk_bytes=chunk_bytes)
    assert (taken.rows, taken.selected) == (30, len(rows))
    assert rows_of(taken) == [(row, 2 * row, str(row), "x") for row in rows]


def test_rows_that_are_not_selected_are_checked_too(put: Callable[[str, bytes], Path]) -> None:
    source = put("a.csv", numbered(30) + b"1,2,3\n")
    assert "row 31" in refusal(source, rows=RowSelection.first(2))


def test_a_selected_row_must_be_there(put: Callable[[str, bytes], Path]) -> None:
    message = refusal(put("a.csv", numbered(30)), rows=parse_rows("2,31-40"))
    assert "there is no row 31: the file has 30 rows" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is not a row"),
        ("1,,2", "is not a row"),
        ("x", "is not a row"),
        ("1-", "is not a row"),
        ("-3", "is not a row"),
        ("٣", "is not a row"),  # a digit, but not one of ours
        ("0", "numbered from 1"),
        ("0-4", "numbered from 1"),
        ("9-3", "is in the wrong order: write 3-9"),
        (",".join("1" * 10_001), "too many"),
    ],
)
def test_an_invalid_selection_names_the_reason(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        parse_rows(text)


def test_a_parquet_file_keeps_its_types(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": ["a", None],
            " n ": [1, None],
            "amount": [Decimal("1.50"), None],
            "at": [datetime(2026, 1, 2, tzinfo=UTC), None],
            "items": [[{"sku": "x", "n": 2}], None],
            "group": pl.Series(["x", None], dtype=pl.Categorical),
            "": [None, None],
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    taken = ingest(tmp_path / "a.parquet", tmp_path / "s.parquet")
    found = pl.concat(read_frames(taken.path))
    assert found.drop("__row", "__line").equals(frame.drop(""))
    assert found.drop("__row", "__line").schema == frame.drop("").schema
    assert (found["__row"].to_list(), found["__line"].to_list()) == ([1, 2], [None, None])
    assert taken.columns == ("id", " n ", "amount", "at", "items", "group")
    assert (taken.kind, taken.delimiter, taken.newline) == ("parquet", None, None)
    assert taken.sha256 == hashlib.sha256((tmp_path / "a.parquet").read_bytes()).hexdigest()
    assert to_metadata(taken).items() <= read_metadata(taken.path).items()


def test_rows_are_numbered_across_row_groups(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(50_000)})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=7_000)
    taken = ingest(
        tmp_path / "a.parquet", tmp_path / "s.parquet", rows=parse_rows("7001,49999-60000")
    )
    assert rows_of(taken) == [(7001, None, 7000), (49_999, None, 49_998), (50_000, None, 49_999)]


@pytest.mark.parametrize(
    ("frame", "parts"),
    [
        (pl.DataFrame({" ": [b"x"], "b": [1]}), ("without a name holds bytes",)),
        (pl.DataFrame({"a": [1], "a ": [1]}), ("columns 1 and 2",)),
        (pl.DataFrame({"__row": [1]}), ("column __row", "reserved for")),
        (pl.DataFrame({"a": [1], " ": [None]}).cast({" ": pl.String}).fill_null("x"), ("without",)),
    ],
)
def test_forbidden_content_of_a_parquet_file_is_named(
    tmp_path: Path, frame: pl.DataFrame, parts: tuple[str, ...]
) -> None:
    frame.write_parquet(tmp_path / "a.parquet")
    message = refusal(tmp_path / "a.parquet")
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([b"x"], "bytes"),
        ([[{"x": b"y"}]], "bytes"),  # nested
        ([time(1)], "a time without a date"),
        ([timedelta(1)], "a duration"),
        ([[time(1)]], "a time without a date"),
    ],
    ids=["bytes", "nested bytes", "a time", "a duration", "a list of times"],
)
def test_unreadable_columns_are_left_out_and_named(
    tmp_path: Path, values: list[object], what: str
) -> None:
    pl.DataFrame({"a": values, "b": [1]}).write_parquet(tmp_path / "a.parquet")
    taken = ingest(tmp_path / "a.parquet", tmp_path / "s.parquet")
    assert taken.unread["a"][0] == what
    assert rows_of(taken) == [(1, None, 1)]
    assert to_metadata(taken).items() <= read_metadata(taken.path).items()


def test_a_file_without_readable_columns_keeps_its_rows(tmp_path: Path) -> None:
    pl.DataFrame({"a": [b"x", b"y"]}).write_parquet(tmp_path / "a.parquet")
    taken = ingest(tmp_path / "a.parquet", tmp_path / "s.parquet")
    assert (taken.rows, rows_of(taken)) == (2, [(1, None), (2, None)])


def test_the_hashed_bytes_are_decoded(tmp_path: Path) -> None:
    """Whoever may write to the folder puts another file in its place meanwhile."""
    source, other = tmp_path / "a.parquet", tmp_path / "other.parquet"
    pl.DataFrame({"n": [1] * 40_000}).write_parquet(source)
    pl.DataFrame({"n": [2] * 40_000}).write_parquet(other)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()

    class Replacing(RowSelection):
        __slots__ = ()

        def only(self, frame: pl.DataFrame) -> pl.DataFrame:
            if other.exists():
                other.replace(source)
            return frame

    taken = ingest(source, tmp_path / "s.parquet", rows=Replacing(((1, 40_000),)))
    assert taken.sha256 == sha256
    assert {row[2] for row in rows_of(taken)} == {1}


def test_a_cell_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": ["x", "y" * 9_000_000]}).write_parquet(tmp_path / "a.parquet")
    assert "row 2, column a: a cell of 9000000 bytes" in refusal(tmp_path / "a.parquet")


LARGE = """
import resource, sys
from pathlib import Path
from pipeline.loader.ingest import ingest
from pipeline.model import InputError
try:
    ingest(Path(sys.argv[1]), Path(sys.argv[2]))
except InputError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
"""


def test_a_long_cell_in_the_footer_takes_no_memory(tmp_path: Path) -> None:
    """A decoder takes five times its size; any Parquet file takes some 110 MiB."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"id": ["1"], "a": ["x" * (100 << 20)]}).write_parquet(path)
    command = [sys.executable, "-c", LARGE, str(path), str(tmp_path / "s.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message, peak_mib = done.stdout.splitlines()
    assert "column a: cells of 10485" in message
    assert "expected at most 8 MiB each" in message
    assert int(peak_mib) < 250


def test_long_values_of_an_unreadable_column_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"id": ["1"], "photo": [b"x" * (40 << 20)]}).write_parquet(path)
    taken = ingest(path, tmp_path / "s.parquet")
    assert taken.columns == ("id",)
    assert taken.unread["photo"][0] == "bytes"


def test_nul_bytes_after_a_parquet_file_are_named(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")
    with (tmp_path / "a.parquet").open("ab") as file:
        file.write(bytes(100))
    message = refusal(tmp_path / "a.parquet")
    assert "it ends in 10" in message  # the last of the file itself may be NUL too
    assert "NUL bytes. Was it cut" in message


def test_a_parquet_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"n": range(5_000), "t": ["x"] * 5_000}).write_parquet(path)
    whole = path.read_bytes()
    for kept in (5, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert "is not whole" in refusal(path)


@pytest.mark.parametrize("seed", range(4))
def test_no_error_for_a_broken_parquet_file_quotes_the_library(tmp_path: Path, seed: int) -> None:
    path, chance = tmp_path / "a.parquet", random.Random(seed)
    frame = pl.DataFrame({"n": range(50), "t": ["x"] * 50, "u": [[{"v": 1.5}]] * 50})
    frame.write_parquet(path)
    broken = bytearray(path.read_bytes())
    for _ in range(3):
        broken[chance.randrange(len(broken) - 600, len(broken) - 8)] ^= 1 << chance.randrange(8)
    path.write_bytes(broken)
    said = _said_of(path)
    assert not re.search(r"[Pp]olars|thrift|unwrap|Err\b|::|/dev/fd", said), said


def _said_of(path: Path) -> str:
    try:
        ingest(path, path.with_name("s.parquet"))
    except InputError as error:
        return str(error)
    return ""
