"""A file over all four operations, each row with a mark by which its requests are known again."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.promises.test_mixed import COLUMNS, coupon, offer, promotion, purchase

TAG = "add:/_instance/xdm:tags/-"
TOLD = "add:/_instance/xdm:description"
UNTOLD = "remove:/_instance/xdm:description"
HEADER = (*COLUMNS, TAG, TOLD, UNTOLD, "notes")
WRITES = frozenset({"PUT", "PATCH"})

_MARK = re.compile(r'"(row \d+|same \w)"')
_STATUS = {"1": "active", "2": "inactive"}
_IDS = ("external_id", "promotion_id", "instance_id", "offer_id")
_RUN_IDS = 1_000

Cells = dict[str, str]
Maker = Callable[[int, int], Cells]
"""Row number, number of its entity -> the row."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the file.

    entity         as the simulator's log names it
    mark           found in every request of the row, and in what the vendor holds after it
    is_repeatable  False: nothing but a 429 or a read that tells makes it go out twice
    adds           its mark stands beside those of other rows, not in place of them
    """

    number: int
    entity: str
    mark: str
    is_repeatable: bool = True
    adds: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """Rows, and the cells that make them."""

    rows: tuple[Row, ...]
    cells: tuple[Cells, ...]

    def write(self, path: Path) -> Path:
        """As CSV."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, HEADER, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.cells)
        return path


def _tagged(row: int, entity: int) -> Cells:
    """Nothing can tell whether it was applied."""
    cells = offer(row, entity)
    return {**cells, "/_instance/xdm:name": "", "status": "", TAG: f"row {row}"}


def _named_and_tagged(row: int, entity: int) -> Cells:
    return {**offer(row, entity), TAG: f"tag {row}"}


def _told(row: int, entity: int) -> Cells:
    """Adds or, every other time, removes a description: a read tells whether it was applied."""
    return {**offer(row, entity), TOLD: f"of {row}"}


def _untold(row: int, entity: int) -> Cells:
    return {**offer(row, entity), UNTOLD: "true"}


def _noted(row: int, entity: int) -> Cells:
    note = json.dumps({"accountId": "0.0.0.1+-account+7", "header": f"row {row}"})
    return {**purchase(row, entity), "status": "inactive", "notes": note}


def _same(letter: str) -> Maker:
    def make(row: int, entity: int) -> Cells:
        return {**coupon(row, entity), "name.en-US": f"same {letter}"}

    return make


def _refused(row: int, entity: int) -> Cells:
    return {**coupon(row, entity), "bonus": "no_such_sku"}


def _invalid(row: int, entity: int) -> Cells:
    return {**coupon(row, entity), "date_end": "31.12.2026"}


def _held(status: str) -> Maker:
    def make(row: int, entity: int) -> Cells:
        return {**purchase(row, entity), "status": status}

    return make


# How many entities there are of a sort, and what their rows are, in row order.
_SORTS: tuple[tuple[int, tuple[Maker, ...]], ...] = (
    (16, (coupon, coupon, coupon)),
    (8, (promotion, promotion, promotion)),
    (8, (offer, offer, offer)),
    (4, (_tagged, _tagged, _tagged)),
    (4, (_named_and_tagged, _named_and_tagged, _named_and_tagged)),
    (4, (_told, _untold, _told, _untold)),
    (24, (_held("inactive"), _held("active"))),
    (4, (_noted, _noted, _noted)),
    (3, (_same("A"), _same("B"), _same("A"))),
    (3, (_same("A"), _same("A"))),
    (1, (_refused, coupon)),
    (1, (coupon, _invalid, coupon)),
)
_NOT_TWICE = (_tagged, _named_and_tagged, _untold, _noted)


def file_of(run: int, seed: int) -> File:
    """The file of a run: no two runs share an entity. Entities take turns as chance wants it."""
    chance = random.Random(seed)
    waiting: list[tuple[int, list[Maker]]] = []
    for count, sort in _SORTS:
        first = _RUN_IDS * (run + 2_000) + len(waiting)
        waiting += [(first + each, [*sort]) for each in range(count)]
    rows: list[Row] = []
    made: list[Cells] = []
    while waiting:
        entity, makers = chance.choice(waiting)
        number, maker = len(rows) + 1, makers.pop(0)
        if not makers:
            waiting.remove((entity, makers))
        cells = maker(number, entity)
        made.append(cells)
        rows.append(
            Row(
                number,
                next(cells[name] for name in _IDS if cells.get(name)),
                _mark_of(cells),
                maker not in _NOT_TWICE,
                maker is _tagged,
            )
        )
    return File(tuple(rows), tuple(made))


def _mark_of(cells: Cells) -> str:
    found = _MARK.search(json.dumps(list(cells.values())).replace('\\"', '"'))
    return found[1] if found else cells["status"]


def updates_of(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Entity and mark of each update that a request carried; `entry` is a line of the log."""
    if entry["method"] not in WRITES or (entry["id"] is None and not entry.get("ids")):
        return
    found = _MARK.search(entry["body"])
    if found:
        yield entry["id"], found[1]
    elif entry["operation"] == "oracle.offer-status":
        status = _STATUS[json.loads(entry["body"])["statusCode"]]
        for entity in entry["ids"]:
            yield entity, status


def marks_held(entity: Mapping[str, Any]) -> set[str]:
    """The marks in what the vendor holds; `entity` is a line of the simulator's state."""
    found = set(_MARK.findall(json.dumps(entity["body"])))
    if not found and "statusCode" in entity["body"]:
        return {_STATUS[str(entity["body"]["statusCode"])]}
    return found
