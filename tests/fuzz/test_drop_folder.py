"""A short form of what `make fuzz` does to drop folders, and what the long form has found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.watch import Watcher
from pipeline.watch.notes import Claim
from tests.fuzz import driver, tricks
from tests.fuzz.drop_folder import drop_folder_target
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import Target
from tests.fuzz.tricks import Stage, Trick, script_of


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with drop_folder_target() as made:
        yield made


@pytest.mark.parametrize("seed", [1, 2])
def test_some_scripts_find_nothing(target, seed):
    assert driver.feed_one(target, mutated(random.Random(seed), target.corpus)) is None


@pytest.mark.parametrize(
    ("trick", "arg"),
    [
        pytest.param(tricks.closed_folder, 1, id="a folder whose names may be read and no more"),
        pytest.param(tricks.leftover, 9, id="a note nested deeper than Python reads"),
        pytest.param(tricks.leftover, 3, id="a note that names a file with a NUL"),
        pytest.param(tricks.leftover, 4, id="a note that names a file with half a character"),
        pytest.param(tricks.leftover, 6, id="a note that names a path longer than any"),
        pytest.param(tricks.deep, 15, id="a file whose path is longer than any"),
    ],
)
def test_what_was_found_stays_fixed(target, trick, arg):
    """A trick, and a good file after it."""
    script = script_of(trick, arg=arg) + script_of(tricks.good)
    assert driver.feed_one(target, script) is None


def _loses(stage: Stage, _arg: int) -> None:
    entity = tricks.entity_of(stage)
    stage.good[entity] = stage.drop("a.txt", entity)


def _sends_twice(stage: Stage, _arg: int) -> None:
    for name in ("a.csv", "b.csv"):
        stage.good["good-1-"] = stage.drop(name, "good-1-")


def _sends_a_bad_one(stage: Stage, _arg: int) -> None:
    stage.drop("a.csv", "bad-1-")


def _breaks_out(stage: Stage, _arg: int) -> None:
    (stage.outside / "precious" / "photo.jpg").write_text("replaced")


def _removes(stage: Stage, _arg: int) -> None:
    stage.bad[1] = "a.csv"


def _forgets_the_reason(stage: Stage, _arg: int) -> None:
    (stage.inputs / ".failed" / "20260101T000000.000000Z-aaaa").mkdir(parents=True)


def _takes_the_folder(stage: Stage, _arg: int) -> None:
    inputs = stage.inputs.parent
    inputs.rename(inputs.with_name("elsewhere"))
    inputs.mkdir()
    stage.inputs.mkdir()


HELD = ExitStack()


def _holds(_stage: Stage, _arg: int) -> None:
    HELD.enter_context(Path("/dev/null").open("rb"))  # noqa: SIM115 - the stack is one


@pytest.mark.parametrize(
    ("trick", "words"),
    [
        (_loses, r"were sent \{0\} times"),
        (_sends_twice, r"were sent \{2\} times"),
        (_sends_a_bad_one, "bad-1--1 was sent"),
        (_breaks_out, "outside of the drop folder changed"),
        (_removes, "'a.csv' is lost"),
        (_forgets_the_reason, "was set aside without a reason"),
        # or it is looked at between the two steps
        (_takes_the_folder, "was replaced by another folder|inputs: No such file"),
        (_holds, "left open.*/dev/null"),
    ],
)
def test_a_fault_that_is_planted_is_found(monkeypatch, target, trick: Trick, words: str):
    monkeypatch.setattr(tricks, "TRICKS", (trick,))
    with HELD, pytest.raises(Exception, match=words):
        target.feed(b"\0\0\0")


def test_an_internal_error_is_found_by_the_watchers_own_words(monkeypatch, target):
    async def fails(_watcher: Watcher, _claim: Claim) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Watcher, "_send", fails)
    with pytest.raises(AssertionError, match="it said 'internal error'"):
        target.feed(script_of(tricks.good))
