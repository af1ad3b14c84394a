"""Compares JSON values by meaning, and documents with the effect of a JSON Patch. Pure.

The spelling of a value does not count: 10 and 10.0 are equal, and so are two spellings of one
moment. What else is equal (lists in another order, an absent and an empty member) depends on the
vendor, which chooses a function for each field.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pipeline.vendors.kit.classify import plain
from pipeline.vendors.kit.contract import Difference

# ----------------------------------------------------------------------------- meaning of values

_MAX_LEVELS = 128  # more than any update holds; a reply may nest until the parser gives up

Meaning = Callable[[Any], Hashable]
"""Turns a JSON value into something that is equal for values of equal meaning."""


def meaning(
    value: Any, text: Callable[[str], Hashable] = str, levels: int = _MAX_LEVELS
) -> Hashable:
    """The meaning of a JSON value: numbers compare by value, members in any order.

    text    the meaning of texts within it
    levels  nesting below which nothing is equal to anything

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
    """The meaning of a date and time is its instant; other values, and times without offset, keep
    their text.

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
    """Normalise a date, time and offset to RFC 3339; the offset stays as given.

    Raises ValueError with what is expected.

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
    """The meaning of a text that holds a decimal number is the number; other values keep theirs.

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
    """The meaning of a list in which order does not count but repetition does.

    item           the meaning of its items
    is_empty_null  True if null and an empty list are equal

    >>> bag_of()([1, 2, 2]) == bag_of()([2, 1, 2]), bag_of()([1, 2]) == bag_of()([1, 2, 2])
    (True, False)
    """

    def of(value: Any) -> Hashable:
        found = [] if value is None and is_empty_null else value
        is_list = isinstance(found, list)
        return ("bag", frozenset(Counter(map(item, found)).items())) if is_list else meaning(found)

    return of


def set_of(item: Meaning = meaning) -> Meaning:
    """The meaning of a list in which neither order nor repetition counts; null is an empty list.

    >>> set_of()([1, 2, 2]) == set_of()([2, 1]), set_of()(None) == set_of()([])
    (True, True)
    """

    def of(value: Any) -> Hashable:
        found = [] if value is None else value
        is_list = isinstance(found, list)
        return ("set", frozenset(map(item, found))) if is_list else meaning(found)

    return of


def by_member(**members: Meaning) -> Meaning:
    """The meaning of an object some of whose members have a meaning of their own.

    members  the meaning of each, called with None if the member is absent

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
    """A text or whole number of a reply as one short line; empty for anything else.

    >>> short(" 4321 "), short(4321), short(True), short(None)
    ('4321', '4321', '', '')
    """
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    return plain(str(value), _SHORT_CHARS) if is_text else ""


# ------------------------------------------------------------------------- fields of an entity


def only(*names: str) -> Callable[[Any], Any]:
    """Return a function that keeps only these members of each object in a list.

    Other values stay as they are.

    >>> only("sku")([{"sku": "a", "type": "virtual_good"}, 7])
    [{'sku': 'a'}, 7]
    """

    def subset(item: Any) -> Any:
        return {name: item[name] for name in names if name in item}

    def from_list(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [subset(item) if isinstance(item, dict) else item for item in value]

    return from_list


def differences(
    wanted: Mapping[str, Any],
    found: Mapping[str, Any],
    fields: Collection[str],
    meanings: Mapping[str, Meaning],
    members_of: Collection[str] = (),
) -> tuple[Difference, ...]:
    """Return the fields whose meaning differs between `wanted` and `found`; absent equals null.

    fields      names to compare
    meanings    the meaning of fields, by name; `meaning` for all others
    members_of  objects whose members are compared as fields of their own: `limits.per_user`

    >>> differences({"limits": {"a": 1, "b": 2}}, {"limits": {"a": 1}}, ["limits"], {}, ["limits"])
    (Difference(field='limits.b', wanted=2, found=None, is_decided=True),)
    """
    first, second = (dict(_apart(values, fields, members_of)) for values in (wanted, found))
    pairs = (Difference(name, first.get(name), second.get(name)) for name in {**first, **second})
    return tuple(
        pair for pair in pairs if len({meanings.get(pair.field, meaning)(v) for v in pair[1:3]}) > 1
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


# ------------------------------------------------------------------------ effect of a JSON Patch

Place = tuple[str, ...]


class PatchStep(NamedTuple):
    """One operation of a JSON Patch (RFC 6902), its pointers split into tokens.

    value   None if it has none
    source  the pointer `from`; empty if it has none
    """

    name: str
    place: Place
    value: Any = None
    source: Place = ()


class PatchDifference(NamedTuple):
    """A place where a document differs from the effect of a patch.

    wanted, found  None if absent
    is_decided     False if the document does not show whether the patch was applied
    """

    place: Place
    wanted: Any
    found: Any
    is_decided: bool


def patch_differences(
    steps: Sequence[PatchStep], document: Mapping[str, Any]
) -> tuple[PatchDifference, ...]:
    """Compare a document with the effect of a patch; empty if the document shows the effect.

    Setting or removing a member has the same effect once or twice. So the patch is applied to the
    document: wherever that changes something, the patch had not been applied. The effect of a step
    that moves items of a list, or copies, depends on the state before it. It is undecided unless an
    earlier step, such as a `test`, gives that state. A list for which a `test` gives the state
    proves that the patch was not applied if it is still in that state; a list that is neither in
    that state nor as the patch leaves it proves nothing. Null and absent are equal.

    >>> patch_differences([PatchStep("replace", ("status",), "live")], {"status": "draft"})
    (PatchDifference(place=('status',), wanted='live', found='draft', is_decided=True),)
    >>> patch_differences([PatchStep("add", ("tags", "-"), "x")], {"tags": ["x"]})
    (PatchDifference(place=('tags', '-'), wanted='x', found=None, is_decided=False),)
    """
    replay = _Replay(document)
    for step in steps:
        replay.apply(step)
    return tuple(replay.differences(document))


ABSENT: Any = object()
"""The value of a place that does not exist."""
_IN_A_LIST = re.compile(r"-|[0-9]+")
INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class _Replay:
    """A document while a patch is applied to it. The given document is copied, never changed.

    known      places whose content follows from the patch alone
    written    places to compare; the value is the wanted content if it could not be set, else None
    undecided  differences of steps whose effect depends on the state before
    moved      places at, above and below which nothing is decided
    supposed   the content that a test gives for a place
    counted    lists changed on the assumption that such a test holds: the place of the test
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document: Any = dict(document)
        self.known: list[Place] = []
        self.written: dict[Place, Any] = {}
        self.undecided: list[PatchDifference] = []
        self.moved: list[Place] = []
        self.supposed: dict[Place, Any] = {}
        self.counted: dict[Place, Place] = {}

    def apply(self, step: PatchStep) -> None:
        if step.name == "copy" and self._is_known(step.source):
            step = PatchStep("add", step.place, value_at(self.document, step.source))
        if step.name == "test":
            # the content of written places is known; a test that denies it fails the whole patch
            if not any(overlap(step.place, other) for other in self.written):
                self._put(step.place, step.value)
                self.known.append(step.place)
                self.supposed[step.place] = step.value
        elif step.name not in {"add", "replace", "remove"} or step.value is ABSENT:
            self._leave_undecided(step, () if step.name == "move" else step.place)
        elif step.name == "replace" or not self._is_item(step.place):
            self._write(step.place, ABSENT if step.name == "remove" else step.value)
        elif self._is_known(step.place[:-1]):
            self._change_list(step)
        else:
            self._leave_undecided(step, step.place)

    def differences(self, document: Mapping[str, Any]) -> Iterator[PatchDifference]:
        for place, missed in self.written.items():
            wanted = value_at(self.document, place) if missed is None else missed
            found = value_at(document, place)
            wanted, found = (None if each is ABSENT else each for each in (wanted, found))
            if meaning(wanted, moment) != meaning(found, moment):
                is_decided = self._is_decided(place, document)
                yield PatchDifference(place, wanted, found, is_decided)
        for step in self.undecided:
            found = value_at(document, step.place)
            yield step._replace(found=None if found is ABSENT else found)

    def _is_decided(self, place: Place, document: Mapping[str, Any]) -> bool:
        """True if a difference at a place proves that the patch was not applied."""
        if any(overlap(place, other) for other in self.moved):
            return False
        test = self.counted.get(place)
        if test is None:
            return True
        return meaning(value_at(document, test)) == meaning(self.supposed[test])

    def _write(self, place: Place, value: Any) -> None:
        """Set or remove the content of a place and forget what was below it."""
        self.counted = {p: t for p, t in self.counted.items() if not _is_within(p, place)}
        self.written = {p: v for p, v in self.written.items() if not _is_within(p, place)}
        self.undecided = [each for each in self.undecided if not _is_within(each.place, place)]
        self.moved = [other for other in self.moved if not _is_within(other, place)]
        self.written[place] = None if self._put(place, value) else value
        self.known.append(place)

    def _is_known(self, place: Place) -> bool:
        return any(_is_within(place, other) for other in self.known)

    def _is_item(self, place: Place) -> bool:
        """True if a place is, or may be, an item of a list rather than a member."""
        in_a_list = place and _IN_A_LIST.fullmatch(place[-1])
        return bool(in_a_list) and not isinstance(value_at(self.document, place[:-1]), dict)

    def _leave_undecided(self, step: PatchStep, place: Place) -> None:
        area = place[:-1] if self._is_item(place) else place  # the other items move, too
        value = None if step.value is ABSENT else step.value
        self.undecided.append(PatchDifference(step.place, value, None, is_decided=False))
        self.moved.append(area)
        self.known = [other for other in self.known if not overlap(other, area)]

    def _change_list(self, step: PatchStep) -> None:
        """Add or remove an item of a list whose content is known."""
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
        """Set or remove the content of a place; False if there is no such place."""
        if not place:
            self.document = value
            return True
        above = value_at(self.document, place[:-1])
        if isinstance(above, list):
            can_be_put = value is not ABSENT and value_at(above, place[-1:]) is not ABSENT
        else:
            can_be_put = isinstance(above, dict)
        if can_be_put:
            inner: Any = {"": self.document}  # a container for the document itself
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
    """A token as the key of a container: an index for a list."""
    return token if isinstance(container, dict) else int(token)


def value_at(document: Any, place: Place) -> Any:
    """The value at a place of a document, or ABSENT."""
    for token in place:
        if isinstance(document, list):
            is_there = INDEX.fullmatch(token) and int(token) < len(document)
            document = document[int(token)] if is_there else ABSENT
        else:
            document = document.get(token, ABSENT) if isinstance(document, dict) else ABSENT
    return document


def _is_within(place: Place, other: Place) -> bool:
    return place[: len(other)] == other


def overlap(one: Place, other: Place) -> bool:
    """True if one place is at or below the other."""
    return all(first == second for first, second in zip(one, other, strict=False))
