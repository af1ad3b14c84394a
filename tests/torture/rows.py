"""Files over the four operations, each row with a mark by which its requests are known again."""

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
    operation      whose it is
    is_told        a read tells that it was not applied
    """

    number: int
    entity: str
    mark: str
    is_repeatable: bool = True
    adds: bool = False
    operation: str = "xsolla.coupon"
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """Rows, and the cells that make them."""

    rows: tuple[Row, ...]
    cells: tuple[Cells, ...]

    def write(self, path: Path) -> Path:
        """As CSV."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            filled = {name for cells in self.cells for name, cell in cells.items() if cell}
            columns = [name for name in HEADER if name in filled]
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
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


def _bad_id(row: int, entity: int) -> Cells:
    """Oracle knows no such offer: its group is refused, and nobody can tell what was applied."""
    cells = _held("inactive")(row, entity)
    return {**cells, "offer_id": f"0.0.0.1+-purchased_product+666{entity}"}


def _refused(row: int, entity: int) -> Cells:
    return {**coupon(row, entity), "bonus": "no_such_sku"}


def _invalid(row: int, entity: int) -> Cells:
    return {**coupon(row, entity), "date_end": "31.12.2026"}


def _held(status: str) -> Maker:
    def make(row: int, entity: int) -> Cells:
        return {**purchase(row, entity), "status": status}

    return make


# How many entities there are of a sort, and what their rows are, in row order.
Sorts = tuple[tuple[int, tuple[Maker, ...]], ...]
COUPONS: Sorts = (
    (16, (coupon, coupon, coupon)),
    (3, (_same("A"), _same("B"), _same("A"))),
    (3, (_same("A"), _same("A"))),
    (1, (_refused, coupon)),
    (1, (coupon, _invalid, coupon)),
)
PROMOTIONS: Sorts = ((8, (promotion, promotion, promotion)),)
OFFERS: Sorts = (
    (8, (offer, offer, offer)),
    (4, (_tagged, _tagged, _tagged)),
    (4, (_named_and_tagged, _named_and_tagged, _named_and_tagged)),
    (4, (_told, _untold, _told, _untold)),
)
STATUSES: Sorts = (
    (24, (_held("inactive"), _held("active"))),
    (4, (_noted, _noted, _noted)),
)
BAD_IDS: Sorts = ((3, (_bad_id,)),)
_NOT_TWICE = (_tagged, _named_and_tagged, _untold, _noted)


def file_of(run: int, seed: int, sorts: Sorts) -> File:
    """The file of a run: no two runs share an entity. Entities take turns as chance wants it."""
    chance = random.Random(seed)
    waiting: list[tuple[int, list[Maker]]] = []
    for count, sort in sorts:
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
        rows.append(_row(number, maker, cells))
    return File(tuple(rows), tuple(made))


def _row(number: int, maker: Maker, cells: Cells) -> Row:
    return Row(
        number,
        next(cells[name] for name in _IDS if cells.get(name)),
        _mark_of(cells),
        maker not in _NOT_TWICE,
        maker is _tagged,
        cells["operation"],
        maker in {_named_and_tagged, _told, _untold},
    )


def first_file_of(file: File) -> File:
    """A row for each entity of a file: what it holds before."""
    makers: dict[str, Maker] = {
        "xsolla.coupon": coupon,
        "xsolla.bonus-promotion": promotion,
        "adobe.fallback-offer": offer,
    }
    found: dict[str, Cells] = {}
    for row, cells in zip(file.rows, file.cells, strict=True):
        name = next(each for each in _IDS if cells.get(each))
        made = makers[row.operation](0, 0)
        found.setdefault(row.entity, {**made, name: row.entity})
    rows = [
        Row(n, e, "row 0", operation=c["operation"]) for n, (e, c) in enumerate(found.items(), 1)
    ]
    return File(tuple(rows), tuple(found.values()))


def entity_of(line: Mapping[str, Any]) -> str:
    """The entity of a line of a report, whatever run it is of."""
    found = next((line[name] for name in _IDS if line.get(name)), None)
    return str(line["entity"]).rpartition("|")[2] if found is None else str(found)


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


def marks_held(body: Mapping[str, Any]) -> set[str]:
    """The marks in what the vendor holds."""
    found = set(_MARK.findall(json.dumps(body)))
    if not found and "statusCode" in body:
        return {_STATUS[str(body["statusCode"])]}
    return found
