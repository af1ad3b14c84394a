"""The picture of docs/architecture.md shows the folders that exist, and imports as they are."""

from itertools import combinations

from tests.test_layers import MAY_USE
from tests.test_layers import ROOT as PIPELINE
from tools.architecture import BOX_HEIGHT, FOLDERS, HEIGHT, OUTSIDE, PICTURE, WIDTH, Box, picture

CHAR_PX = 6.6  # of the small text, on average


def test_the_picture_is_up_to_date() -> None:
    assert PICTURE.read_text() == picture(), "make architecture"


def test_every_folder_is_in_the_picture_once() -> None:
    there = sorted(path.parent.name for path in PIPELINE.glob("*/__init__.py"))
    assert sorted(box.name for box in FOLDERS) == there


def test_imports_point_down_or_to_the_right() -> None:
    """`cli` starts the simulator; nothing else in the picture imports it."""
    boxes = {box.name: box for box in FOLDERS}
    used = {name: {each.split(".")[0] for each in uses} for name, uses in MAY_USE.items()}
    wrong = [
        f"{name} uses {other}"
        for name, box in boxes.items()
        for other in sorted(used[name] & boxes.keys() - {name})
        if (boxes[other].y, boxes[other].x) <= (box.y, box.x)
    ]
    assert wrong == []
    assert [name for name in boxes if "simulator" in used[name]] == ["cli"]


def test_no_box_covers_another_and_all_text_fits() -> None:
    boxes = (*FOLDERS, *OUTSIDE)
    assert [(a.name, b.name) for a, b in combinations(boxes, 2) if covers(a, b)] == []
    assert [box.name for box in boxes if len(box.about) * CHAR_PX > box.width] == []
    assert [b for b in boxes if b.x + b.width > WIDTH or b.y + BOX_HEIGHT > HEIGHT] == []


def covers(a: Box, b: Box) -> bool:
    beside = a.x + a.width <= b.x or b.x + b.width <= a.x
    return not beside and abs(a.y - b.y) < BOX_HEIGHT
