"""What JSON values mean, whichever way they are written, and what a JSON Patch leaves behind. Pure.

How a value is written does not count: 10 and 10.0 are one number, two spellings of a moment one
moment. What counts beyond that (whether a list has an order, what an absent member means) each
vendor says by the function that it chooses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pipeline.vendors.kit.classify import plain

# ------------------------------------------------------------------------- what a value means

_MOST_LEVELS = 128  # more than any update holds; a reply may nest until the parser gives up

Meaning = Callable[[Any], Hashable]


def meaning(
    value: Any, text: Callable[[str], Hashable] = str, levels: int = _MOST_LEVELS
) -> Hashable:
    """What a JSON value is equal to: itself, as numbers go by value and members have no order.

    text    what a text within it is equal to
    levels  deeper than that, nothing is equal to anything

    >>> meaning({"a": 1, "b": []}) == meaning({"b": [], "a": 1.0}), meaning(1) == meaning(True)
    (True, False)
    """
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return ("bool", value)  # to Python, True is 1
    if levels == 0:
        return object()
    if isinstance(value, dict):
        members = ((name, meaning(inner, text, levels - 1)) for name, inner in value.items())
        return ("object", frozenset(members))
    if isinstance(value, list):
        return ("list", tuple([meaning(inner, text, levels - 1) for inner in value]))
    same: Hashable = value
    return same


def moment(value: Any) -> Hashable:
    """A date and time by its instant; what is none, or has no offset, by what it says.

    >>> moment("2020-04-15T18:16:00+05:00") == moment("2020-04-15T13:16:00Z")
    True
    """
    if not isinstance(value, str):
        return meaning(value)
    try:
        found = datetime.fromisoformat(value.upper())  # `z` is Z
    except ValueError:
        return value
    return value if found.tzinfo is None else found


_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(:[0-5][0-9](?:\.[0-9]+)?)?"
    r"(?:([Zz])|([+-](?:[01][0-9]|2[0-3]))(?::?([0-5][0-9]))?)"
)


def date_time(text: str) -> str:
    """A date, a time and an offset in the one spelling of RFC 3339, the offset as given.

    raises  ValueError with what is expected

    >>> date_time("2020-04-15 18:16:00+0500")
    '2020-04-15T18:16:00+05:00'
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("a date, a time and an offset, as in 2020-04-15T18:16:00+05:00")
    day, minute, second, utc, hours, minutes = found.groups()
    offset = "Z" if utc else f"{hours}:{minutes or '00'}"
    date = f"{day}T{minute}{second or ':00'}{offset}"
    if moment(date) == date:
        raise ValueError("a day that the calendar has")
    return date


_NUMBER = re.compile(r"([+-]?)0*([0-9]+)(?:\.([0-9]*?)0*)?")


def number(value: Any) -> Hashable:
    """The text of a number by its value; what is none by what it says.

    >>> number("10.00") == number("10"), number("010.5") == number("10.50"), number("1") == "1"
    (True, True, False)
    """
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return meaning(value)
    sign, whole, fraction = found.groups()
    is_negative = sign == "-" and (whole, fraction or "") != ("0", "")
    return ("number", is_negative, whole, fraction or "")


def bag_of(item: Meaning = meaning, *, is_empty_null: bool = False) -> Meaning:
    """How a list is compared whose order means nothing, while it counts how often an item is in it.

    is_empty_null  True where null and an empty list mean the same

    >>> bag_of()([1, 2, 2]) == bag_of()([2, 1, 2]), bag_of()([1, 2]) == bag_of()([1, 2, 2])
    (True, False)
    """

    def of(value: Any) -> Hashable:
        found = [] if value is None and is_empty_null else value
        is_list = isinstance(found, list)
        return ("bag", frozenset(Counter(map(item, found)).items())) if is_list else meaning(found)

    return of


def set_of(item: Meaning = meaning) -> Meaning:
    """How a list is compared of which only matters what is in it; null is an empty one.

    >>> set_of()([1, 2, 2]) == set_of()([2, 1]), set_of()(None) == set_of()([])
    (True, True)
    """

    def of(value: Any) -> Hashable:
        found = [] if value is None else value
        is_list = isinstance(found, list)
        return ("set", frozenset(map(item, found))) if is_list else meaning(found)

    return of


def by_member(**members: Meaning) -> Meaning:
    """How an object is compared some of whose members mean more than JSON says.

    members  what each is equal to, given None where it is absent

    >>> price = by_member(value=number, currency=lambda word: word or "EUR")
    >>> price({"value": "1.50"}) == price({"value": "1.5", "currency": "EUR"})
    True
    """

    def of(value: Any) -> Hashable:
        if not isinstance(value, dict):
            return meaning(value)
        return meaning(value | {name: known(value.get(name)) for name, known in members.items()})

    return of


_SHORT_CHARS = 100


def short(value: object) -> str:
    """A text or whole number of a reply as one short line; empty where it is anything else.

    >>> short(" 4321 "), short(4321), short(True), short(None)
    ('4321', '4321', '', '')
    """
    is_told = isinstance(value, str | int) and not isinstance(value, bool)
    return plain(str(value), _SHORT_CHARS) if is_told else ""


# ------------------------------------------------------------------------- fields of an entity


def only(*names: str) -> Callable[[Any], Any]:
    """Takes from each object of a list the members of these names; leaves alone what is none.

    >>> only("sku")([{"sku": "a", "type": "virtual_good"}, 7])
    [{'sku': 'a'}, 7]
    """

    def taken(item: Any) -> Any:
        return {name: item[name] for name in names if name in item}

    def from_list(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [taken(item) if isinstance(item, dict) else item for item in value]

    return from_list


class Unlike(NamedTuple):
    """A field that two entities do not have alike; None where it is absent."""

    field: str
    wanted: Any
    found: Any


def unlike(
    wanted: Mapping[str, Any],
    found: Mapping[str, Any],
    fields: Collection[str],
    meanings: Mapping[str, Meaning],
    members_of: Collection[str] = (),
) -> tuple[Unlike, ...]:
    """Which of these fields mean something else in `found` than in `wanted`; absent is as null.

    meanings    what a field is equal to, by name; where it is not given, JSON says it
    members_of  objects whose members are fields by themselves, named `limits.per_user`

    >>> unlike({"limits": {"a": 1, "b": 2}}, {"limits": {"a": 1}}, ["limits"], {}, ["limits"])
    (Unlike(field='limits.b', wanted=2, found=None),)
    """
    first, second = (dict(_apart(values, fields, members_of)) for values in (wanted, found))
    pairs = (Unlike(name, first.get(name), second.get(name)) for name in {**first, **second})
    return tuple(
        pair for pair in pairs if len({meanings.get(pair.field, meaning)(v) for v in pair[1:]}) > 1
    )


def _apart(
    values: Mapping[str, Any], fields: Collection[str], members_of: Collection[str]
) -> Iterator[tuple[str, Any]]:
    for name in fields:
        value = values.get(name)
        if name in members_of and isinstance(value, dict):
            yield from ((f"{name}.{member}", inner) for member, inner in value.items())
        else:
            yield name, value


# ------------------------------------------------------------- what a JSON Patch leaves behind

Place = tuple[str, ...]


class PatchStep(NamedTuple):
    """One operation of a JSON Patch, its pointers taken apart (RFC 6902).

    value   None where it has none
    source  of `from`; empty where it has none
    """

    name: str
    place: Place
    value: Any = None
    source: Place = ()


class Unheld(NamedTuple):
    """A place where a document does not hold what a patch leaves there.

    wanted, found  None where nothing stands there
    is_told        False where the document cannot tell whether the patch was applied
    """

    place: Place
    wanted: Any
    found: Any
    is_told: bool


def unheld(steps: Sequence[PatchStep], document: Mapping[str, Any]) -> tuple[Unheld, ...]:
    """Where `document` is not as the patch would have left it; empty: the patch is in it.

    Setting and removing members does the same to a document once or twice. So the patch is applied
    to what was found: where that changes something, it was not in it. A step that moves the items
    of a list, or copies, depends on what was there before, and cannot be told, unless an earlier
    step, a `test` among them, says what that was. A list of which a `test` says it is told to be
    unchanged where it is still that; as neither that nor what the patch makes of it, it tells
    nothing. Null and absent are the same.

    >>> unheld([PatchStep("replace", ("status",), "live")], {"status": "draft"})
    (Unheld(place=('status',), wanted='live', found='draft', is_told=True),)
    >>> unheld([PatchStep("add", ("tags", "-"), "x")], {"tags": ["x"]})
    (Unheld(place=('tags', '-'), wanted='x', found=None, is_told=False),)
    """
    replay = _Replay(document)
    for step in steps:
        replay.take(step)
    return tuple(replay.unheld(document))


ABSENT: Any = object()
"""Stands where nothing does."""
_IN_A_LIST = re.compile(r"-|[0-9]+")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class _Replay:
    """A document while a patch is applied to it. What was found is copied, never changed.

    known    places whose content the patch itself says
    written  places to look at, and what was to stand there where it could not be put there
    untold   steps that depend on what was there before
    moved    places at, above and below which nothing can be told
    supposed  what a test says of a place
    counted  lists that were changed on the word of such a test, by place
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document: Any = dict(document)
        self.known: list[Place] = []
        self.written: dict[Place, Any] = {}
        self.untold: list[Unheld] = []
        self.moved: list[Place] = []
        self.supposed: dict[Place, Any] = {}
        self.counted: dict[Place, Place] = {}

    def take(self, step: PatchStep) -> None:
        if step.name == "copy" and self._is_known(step.source):
            step = PatchStep("add", step.place, value_at(self.document, step.source))
        if step.name == "test":
            # what was written is known already; a test that denies it lets no patch through
            if not any(_overlap(step.place, other) for other in self.written):
                self._put(step.place, step.value)
                self.known.append(step.place)
                self.supposed[step.place] = step.value
        elif step.name not in {"add", "replace", "remove"} or step.value is ABSENT:
            self._tell_nothing(step, () if step.name == "move" else step.place)
        elif step.name == "replace" or not self._is_item(step.place):
            self._write(step.place, ABSENT if step.name == "remove" else step.value)
        elif self._is_known(step.place[:-1]):
            self._change_list(step)
        else:
            self._tell_nothing(step, step.place)

    def unheld(self, document: Mapping[str, Any]) -> Iterator[Unheld]:
        for place, missed in self.written.items():
            wanted = value_at(self.document, place) if missed is None else missed
            found = value_at(document, place)
            wanted, found = (None if each is ABSENT else each for each in (wanted, found))
            if meaning(wanted, moment) != meaning(found, moment):
                is_told = self._is_told(place, document)
                yield Unheld(place, wanted, found, is_told)
        for step in self.untold:
            found = value_at(document, step.place)
            yield step._replace(found=None if found is ABSENT else found)

    def _is_told(self, place: Place, document: Mapping[str, Any]) -> bool:
        """Whether what is missing at a place proves that the patch was not applied."""
        if any(_overlap(place, other) for other in self.moved):
            return False
        test = self.counted.get(place)
        if test is None:
            return True
        return meaning(value_at(document, test)) == meaning(self.supposed[test])

    def _write(self, place: Place, value: Any) -> None:
        """Set or remove what stands at a place: what was below it before counts no more."""
        self.counted = {p: t for p, t in self.counted.items() if not _is_within(p, place)}
        self.written = {p: v for p, v in self.written.items() if not _is_within(p, place)}
        self.untold = [each for each in self.untold if not _is_within(each.place, place)]
        self.moved = [other for other in self.moved if not _is_within(other, place)]
        self.written[place] = None if self._put(place, value) else value
        self.known.append(place)

    def _is_known(self, place: Place) -> bool:
        return any(_is_within(place, other) for other in self.known)

    def _is_item(self, place: Place) -> bool:
        """Whether it stands in a list, or may: only an object has members of such names."""
        in_a_list = place and _IN_A_LIST.fullmatch(place[-1])
        return bool(in_a_list) and not isinstance(value_at(self.document, place[:-1]), dict)

    def _tell_nothing(self, step: PatchStep, place: Place) -> None:
        area = place[:-1] if self._is_item(place) else place  # the other items move, too
        value = None if step.value is ABSENT else step.value
        self.untold.append(Unheld(step.place, value, None, is_told=False))
        self.moved.append(area)
        self.known = [other for other in self.known if not _overlap(other, area)]

    def _change_list(self, step: PatchStep) -> None:
        """Add or remove an item of a list of which is known what stands in it."""
        above, last = step.place[:-1], step.place[-1]
        found = value_at(self.document, above)
        items = list(found) if isinstance(found, list) else []
        index = len(items) if last == "-" else int(last[:9])
        if step.name == "add":
            items.insert(index, step.value)
        elif index < len(items):
            del items[index]
        self._put(above, items)
        if not any(_is_within(above, other) for other in self.written):
            self.counted[above] = next(t for t in self.supposed if _is_within(above, t))
        self.written[above] = None

    def _put(self, place: Place, value: Any) -> bool:
        """Set, or remove, what stands at a place; False where there is no such place."""
        if not place:
            self.document = value
            return True
        above = value_at(self.document, place[:-1])
        if isinstance(above, list):
            can_be_put = value is not ABSENT and value_at(above, place[-1:]) is not ABSENT
        else:
            can_be_put = isinstance(above, dict)
        if can_be_put:
            inner: Any = {"": self.document}  # so that the document, too, stands in something
            root = inner
            for step, below in zip(("", *place), place, strict=False):
                key = _key(inner, step)
                inner[key] = inner[key].copy()
                inner = inner[key]
                last = _key(inner, below)
            if value is ABSENT:
                inner.pop(last, None)
            else:
                inner[last] = value
            self.document = root[""]
        return can_be_put


def _key(container: dict[str, Any] | list[Any], token: str) -> Any:
    """A token as the key to a container: in a list, a number."""
    return token if isinstance(container, dict) else int(token)


def value_at(document: Any, place: Place) -> Any:
    """What stands at a place of a document, or ABSENT."""
    for token in place:
        if isinstance(document, list):
            is_there = _INDEX.fullmatch(token) and int(token) < len(document)
            document = document[int(token)] if is_there else ABSENT
        else:
            document = document.get(token, ABSENT) if isinstance(document, dict) else ABSENT
    return document


def _is_within(place: Place, other: Place) -> bool:
    return place[: len(other)] == other


def _overlap(one: Place, other: Place) -> bool:
    """Whether one place lies at or below the other."""
    return all(first == second for first, second in zip(one, other, strict=False))
