"""Whatever is wrong with a file, what is said of it fits a few screens and little memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import typed
from tests.workplace import COLUMNS, ENVIRON, configure, coupon

MAX_CHARS = 20_000
MAX_BYTES = 200 << 20
_LONG = b"x" * (1 << 20)

# By a small process: what is started by a large one counts as having been as large.
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def _columns(count: int) -> Iterator[bytes]:
    yield f"{COLUMNS},".encode() + b",".join(b"c%d" % n for n in range(count)) + b"\n"
    yield coupon(1).encode() + b",x" * count + b"\n"


def _cell(mebibytes: int) -> Iterator[bytes]:
    yield f"{COLUMNS}\n{coupon(1)}\nc2,".encode()
    for _ in range(mebibytes):
        yield _LONG
    yield coupon(2).partition(",")[2].encode() + b"\n"


def _rows(line: str, count: int) -> Iterator[bytes]:
    yield f"{COLUMNS}\n".encode()
    yield from (line.encode() + b"\n" for _ in range(count))


def _one_bad_row() -> str:
    return coupon(1).replace(",1,null,", ",x,y,")


FILES = {  # the bytes of a file in pieces, and the exit code of `check`
    "100,000 columns": (lambda: _columns(100_000), 2),
    "a cell of 100 MB": (lambda: _cell(100), 2),
    "a name of 100 MB": (lambda: iter([b"a,", *[_LONG] * 100, b"\n1,2\n"]), 2),
    "a million short records": (lambda: _rows("x,y", 1_000_000), 2),
    "many wrong rows": (lambda: _rows(_one_bad_row(), 20_000), 1),
}


@pytest.mark.parametrize(("pieces", "code"), FILES.values(), ids=FILES)
def test_what_is_said_is_bounded(shop: Path, pieces, code: int) -> None:
    with (shop / "a.csv").open("wb") as file:
        file.writelines(pieces())
    command = [sys.executable, "-m", "pipeline", "check", "a.csv", "--operation", "xsolla.coupon"]
    with (shop / "words").open("wb") as words:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(shop / "peak"), *command],
            cwd=shop, stdout=words, stderr=subprocess.STDOUT, env={**os.environ, **ENVIRON},
            check=False,
        )  # fmt: skip
    said = (shop / "words").read_text()
    assert done.returncode == code, said[:2_000]
    assert len(said) < MAX_CHARS
    assert "Traceback" not in said
    assert int((shop / "peak").read_text()) << 10 < MAX_BYTES


def test_a_key_that_a_column_gives_is_said_once(tmp_path):
    configure(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "a.csv").write_text(f"{COLUMNS.replace('en-US', 'x')}\n{coupon(1)}\n")
    checked = typed(tmp_path, "check", "--operation", "xsolla.coupon", "a.csv")
    assert "column name.x: not accepted: 'x'; expected a locale, as en-US or de-DE\n" in checked.out
