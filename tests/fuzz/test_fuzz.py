"""A short form of `make fuzz`, and what the long form has found."""

import os
import random
import time
from dataclasses import replace

import pytest

from pipeline.config import load_config
from pipeline.model import ConfigError
from pipeline.vendors import load_vendors
from tests.fuzz import driver
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import Target, targets

ROUNDS = 6  # Parquet takes a process each


def test_a_few_seconds_find_nothing(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    with targets(work) as found:
        all_targets = tuple(replace(each, longest_s=100.0) for each in found)  # on a busy machine
        tally = driver.fuzz(
            all_targets, seconds=2, seed=20_261_126, folder=tmp_path / "found", rounds=ROUNDS
        )
    assert tally.findings == []
    assert min(tally.fed.values()) >= ROUNDS


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
def test_a_fault_that_is_planted_is_found(feed, words):
    longest_s = 0.5 if feed is _hang else 20.0
    wrong = driver.feed_one(Target("any", (b"",), feed, longest_s), b"")
    assert wrong is not None
    assert words in wrong


def test_an_earlier_peak_of_memory_hides_none():
    _gorge(b"")
    wrong = driver.feed_one(Target("any", (b"",), _gorge, 20.0), b"")
    assert wrong is not None
    assert "the peak of memory grew" in wrong


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a = " + "[" * 3000, id="lists in lists"),
        pytest.param("keep_days = " + "9" * 5000, id="more digits than Python reads"),
    ],
)
def test_what_was_found_in_configurations_stays_mended(tmp_path, text):
    (tmp_path / "pipeline.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"pipeline\.toml: contains a number that is too long"):
        load_config(None, environ={}, vendors=load_vendors(), cwd=tmp_path)
