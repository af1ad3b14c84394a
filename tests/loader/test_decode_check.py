"""What becomes of a Parquet file whose decoding ends a process: that file is refused, in words."""

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipeline.loader.decode_check import check_decodes
from pipeline.loader.ingest import ingest
from pipeline.model import InputError, RunAborted

ABORTS = Path(__file__).parents[1] / "fuzz" / "found" / "files-parquet-aborts"


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A process that stands in for Python where a file is decoded."""

    def install(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    return install


def proved(path: Path) -> None:
    with path.open("rb") as file:
        check_decodes(file.fileno(), "a.parquet", path.stat().st_size)


def test_parquet_that_would_end_the_process_is_refused_with_a_clear_message(tmp_path: Path) -> None:
    """A page that states two exbibytes."""
    (tmp_path / "a.parquet").write_bytes(ABORTS.read_bytes())
    with pytest.raises(InputError, match="decoding it crashes"):
        ingest(tmp_path / "a.parquet", tmp_path / "s.parquet")


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("kill -9 $$", InputError, r"killed \(SIGKILL\), as happens when memory runs out"),
        ("kill -11 $$", InputError, r"crashes \(SIGSEGV\)"),
        ("kill -15 $$", RunAborted, "SIGTERM ended it. Nothing was sent"),  # the file is not judged
        ("kill -2 $$", RunAborted, "SIGINT ended it. Nothing was sent"),
        ("echo no room >&2; exit 1", RunAborted, r"failed \(no room\)"),
    ],
    ids=["SIGKILL", "SIGSEGV", "SIGTERM", "SIGINT", "an exit code"],
)
def test_the_end_of_a_decoder_decides_the_error(
    tmp_path: Path,
    decoder: Callable[[str], None],
    script: str,
    error: type[Exception],
    words: str,
) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    decoder(script)
    with pytest.raises(error, match=words):
        proved(path)
