"""The power goes at any moment: what the ledger had returned for is on record."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.torture.lives import Driver
from tests.torture.power_loss import (
    Disk,
    Event,
    Recorded,
    carried_on,
    compiled,
    images,
    recorded,
    what_is_wrong,
)
from tests.torture.shapes import SHAPES, Shape
from tests.workplace import Simulator, simulator

A, B, FOLDER = Path("d/a"), Path("d/b"), Path("d")
MADE, NAMED = Event("C", 1, 0, A, b""), Event("D", 9, 0, FOLDER, b"")
OLD, NEW = Event("W", 1, 0, A, b"old"), Event("W", 1, 0, A, b"new")
SYNCED, MOVED = Event("S", 1, 0, A, b""), Event("R", 0, 0, A, b"d/b")


@contextmanager
def a_run(folder: Path, seed: int, shape: Shape) -> Iterator[tuple[Recorded, Simulator]]:
    library = compiled(folder)
    if library is None:
        pytest.skip("needs a C compiler and Linux to record what a process does to its disk")
    (folder / "run").mkdir()
    with simulator("--seed", str(seed)) as vendor:
        yield recorded(folder / "run", library, vendor, seed, shape), vendor


@pytest.mark.parametrize(
    ("events", "nothing", "all_of_it"),
    [
        ([MADE, OLD], {}, {A: b"old"}),  # neither name nor content is certain
        ([MADE, NAMED, OLD], {A: b""}, {A: b"old"}),
        ([MADE, OLD, SYNCED], {}, {A: b"old"}),  # the name is not
        ([MADE, NAMED, OLD, SYNCED, NEW], {A: b"old"}, {A: b"new"}),
        ([MADE, NAMED, OLD, SYNCED, MOVED], {A: b"old"}, {B: b"old"}),
        ([MADE, NAMED, OLD, SYNCED, MOVED, NAMED], {B: b"old"}, {B: b"old"}),
        ([MADE, NAMED, OLD, SYNCED, Event("T", 1, 1, A, b"")], {A: b"old"}, {A: b"o"}),
        ([MADE, NAMED, OLD, SYNCED, Event("U", 0, 0, A, b"")], {A: b"old"}, {}),
    ],
)
def test_a_disk_keeps_what_was_synced(events, nothing, all_of_it):
    disk = Disk()
    for event in events:
        disk.take(event)
    assert disk.after_power_loss(random.Random(1), 0.0) == nothing
    assert disk.after_power_loss(random.Random(1), 1.0) == all_of_it


ALL, OFFERS = (
    next(shape for shape in SHAPES if shape.name == name) for name in ("all", "offers, undone")
)


@pytest.mark.parametrize(
    ("shape", "number"), [(ALL, 250), (OFFERS, 60)], ids=["all", "previous states"]
)
def test_what_the_ledger_returned_for_survives_loss_of_power(tmp_path, shape, number):
    chance = random.Random(4)
    with a_run(tmp_path, 4, shape) as (run, vendor):
        assert len(run.events) > 300
        for place, image in enumerate(images(run, number, chance)):
            to = tmp_path / f"image-{place}"
            assert what_is_wrong(run, image, to) == []
            shutil.rmtree(to, ignore_errors=True)
        with closing(Driver()) as driver:
            for place, image in enumerate(images(run, 3, chance, first=run.begun)):
                to = tmp_path / f"resume-{place}"
                to.mkdir()
                assert carried_on(run, image, vendor, to, driver) == []
        losses = [  # a disk that takes no notice of a sync loses what was on record
            what_is_wrong(run, image, tmp_path / f"lie-{place}")
            for place, image in enumerate(images(run, 20, chance, first=run.begun, is_honest=False))
        ]
        assert sum(map(bool, losses)) > 5
