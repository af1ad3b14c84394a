"""What Rust prints of a panic never reaches the standard error."""

from __future__ import annotations

import os

import polars as pl
import pytest

from pipeline.loader.ingest import ingest
from pipeline.loader.panics import panics_unprinted
from pipeline.model import InputError

PRINTED = """
thread 'async-executor-0' (1234) panicked at crates/polars-arrow/src/bitmap/immutable.rs:1:2:
assertion failed: offset + length <= self.length
stack backtrace:
   0: __rustc::rust_begin_unwind
             at ./library/std/src/panicking.rs:1:2
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.

thread '<unnamed>' (1235) panicked at crates/polars-stream/src/nodes/mod.rs:300:14:
assertion `left == right` failed
  left: 1
 right: 2
"""


def test_what_a_panic_prints_is_left_out_and_other_words_are_kept(capfd):
    with panics_unprinted():
        os.write(2, b"before\n")
        os.write(2, PRINTED.encode())
        os.write(2, b"after\n")
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "before\nafter\nlater\n"


def test_a_small_file_with_damaged_pages_is_refused_in_our_words_only(tmp_path, capfd):
    path = tmp_path / "a.parquet"
    cells = [None if n % 3 else "x" for n in range(20)]
    frame = pl.DataFrame({"external_id": [f"a{n}" for n in range(20)], "b": cells})
    frame.write_parquet(path, compression="uncompressed", statistics=False)
    good = path.read_bytes()
    for at, bit in ((166, 1), (170, 0), (172, 5)):  # of those that say which cells are null
        bad = bytearray(good)
        bad[at] ^= 1 << bit
        path.write_bytes(bad)
        with pytest.raises(InputError):
            ingest(path, tmp_path / "snapshot.parquet")
    assert capfd.readouterr().err == ""
