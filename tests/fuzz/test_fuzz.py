"""A short form of `make fuzz`, and what the long form has found."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.load.proof import check_decodes
from pipeline.model import ConfigError, InputError, RunAborted
from pipeline.vendors import load_vendors
from tests.fuzz import driver
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import Target, targets


def test_a_few_seconds_find_nothing(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    with targets(work) as all_targets:
        tally = driver.fuzz(all_targets, seconds=3, seed=20_261_126, folder=tmp_path / "found")
    assert tally.findings == []
    assert min(tally.fed.values()) > 5  # Parquet takes a process each


def test_parquet_that_would_end_the_process_is_refused_in_words(tmp_path):
    """Found by the long form: a page that states two exbibytes."""
    path = tmp_path / "huge.parquet"
    path.write_bytes((Path(__file__).parent / "found" / "files-parquet-aborts").read_bytes())
    with pytest.raises(InputError, match="decoding it ends the process"):
        check_decodes(path)


def test_a_proof_that_somebody_ends_says_nothing_of_the_file(tmp_path):
    """Ctrl-C reaches it too; the file is not to be set aside for that."""
    path = tmp_path / "slow.parquet"
    os.mkfifo(path)  # it waits there for a writer
    threading.Timer(1.5, lambda: [os.kill(pid, signal.SIGTERM) for pid in children()]).start()
    with pytest.raises(RunAborted, match="SIGTERM ended it"):
        check_decodes(path)


def children() -> list[int]:
    texts = (each.read_text() for each in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for text in texts for pid in text.split()]


def test_the_same_seed_makes_the_same_bytes():
    corpus = (b"external_id,n\na,1\n", b"b,2\n")
    first, second = random.Random(3), random.Random(3)
    made = [mutated(first, corpus) for _ in range(50)]
    assert made == [mutated(second, corpus) for _ in range(50)]
    assert len(set(made)) > 30


def _crash(_data: bytes) -> None:
    raise IndexError("planted")


def _hang(_data: bytes) -> None:
    time.sleep(5)


def _gorge(_data: bytes) -> None:
    len(os.urandom(1) * (700 << 20))


@pytest.mark.parametrize(
    ("feed", "words"),
    [(_crash, "planted"), (_hang, "took longer"), (_gorge, "the peak of memory grew")],
)
def test_a_fault_that_is_planted_is_found(monkeypatch, feed, words):
    monkeypatch.setattr(driver, "EXAMPLE_S", 0.5 if feed is _hang else 20.0)
    wrong = driver.feed_one(Target("any", (b"",), feed), b"")
    assert wrong is not None
    assert words in wrong


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a = " + "[" * 3000, id="lists in lists"),
        pytest.param("keep_days = " + "9" * 5000, id="more digits than Python reads"),
    ],
)
def test_what_was_found_in_configurations_stays_mended(tmp_path, text):
    (tmp_path / "pipeline.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"pipeline\.toml: holds a number that is too long"):
        load_config(None, environ={}, vendors=load_vendors(), cwd=tmp_path)
