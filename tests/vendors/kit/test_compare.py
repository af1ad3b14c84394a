"""What values mean, and whether a document holds what a patch leaves behind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonpatch import JsonPatchException, apply_patch
from jsonpointer import JsonPointer, JsonPointerException

from pipeline.vendors.kit.compare import (
    PatchStep,
    bag_of,
    by_member,
    date_time,
    differences,
    meaning,
    moment,
    number,
    only,
    patch_differences,
    set_of,
    short,
)

# ------------------------------------------------------------------------- what a value means

DEEP = json.loads("[" * 700 + "]" * 700)
SAME = [
    # how it is compared, two values, whether they are one
    (meaning, 10, 10.0, True),
    (meaning, -0.0, 0, True),
    (meaning, True, 1, False),  # to Python they are equal
    (meaning, False, 0, False),
    (meaning, [True], [1], False),
    (meaning, "10", 10, False),
    (meaning, None, False, False),
    (meaning, {"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    (meaning, {"a": None}, {}, False),  # what absent means is not for JSON to say
    (meaning, [1, 2], [2, 1], False),
    (meaning, {}, [], False),
    (meaning, [], None, False),
    (meaning, "a", "A", False),
    (meaning, "\u00e1", "a\u0301", False),  # who normalises text changes it
    (meaning, float("nan"), float("nan"), False),
    (meaning, DEEP, DEEP, False),  # nobody sends that: not looked at, and no error either
    (moment, "2020-04-15T18:16:00+05:00", "2020-04-15T13:16:00Z", True),
    (moment, "2020-04-15T18:16:00+0500", "2020-04-15T18:16:00+05:00", True),
    (moment, "2020-04-15T18:16:00.000Z", "2020-04-15t18:16:00z", True),
    (moment, "2020-04-15T18:16:00Z", "2020-04-15T18:16:00.5Z", False),
    (moment, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", False),
    (moment, "2020-04-15T18:16:00", "2020-04-15T18:16:00Z", False),  # nobody knows where
    (moment, "2020-04-15", "2020-04-15T00:00:00Z", False),
    (moment, "2020-04-15", "2020-04-15T00:00:00", False),
    (moment, "soon", "soon", True),
    (moment, "\ud800", "\ud800", True),
    (moment, None, None, True),
    (moment, [1], [1.0], True),
    (number, "10", "10.00", True),
    (number, "010", "+10", True),
    (number, "0", "-0.0", True),
    (number, "100", "1", False),
    (number, "1.01", "1.1", False),
    (number, "-1", "1", False),
    (number, "0.00000000000000000001", "0", False),  # no float in between
    (number, "1e1", "10", False),  # no source writes it so
    (number, "\u0661", "1", False),
    (number, "9" * 5_000, "9" * 5_000 + ".0", True),
    (number, 10, 10.0, True),
    (bag_of(), [1, 2], [2, 1.0], True),
    (bag_of(), [1, 1, 2], [1, 2, 2], False),
    (bag_of(), [], None, False),
    (bag_of(is_empty_null=True), [], None, True),
    (bag_of(is_empty_null=True), [], {}, False),
    (bag_of(), [{"a": [1]}], [{"a": [1.0]}], True),
    (bag_of(number), ["1", "2.0"], ["2", "1"], True),
    (set_of(), [1, 2, 2], [2, 1], True),
    (set_of(), [1, True], [1], False),
    (set_of(), [], None, True),
    (set_of(), "x", ["x"], False),
    (by_member(n=number), {"n": "1"}, {"n": "1.0"}, True),
    (by_member(n=number), {"n": "1"}, {"n": "1.0", "m": None}, False),
    (by_member(n=lambda n: n or 0), {}, {"n": None}, True),
    (by_member(n=lambda n: n or 0), 7, 7.0, True),
]


@pytest.mark.parametrize(("of", "one", "other", "is_same"), SAME)
def test_two_values_mean_the_same_or_not(of, one, other, is_same):
    assert (of(one) == of(other)) is is_same
    assert (of(other) == of(one)) is is_same
    assert {of(one), of(other)}  # whatever it is, it can be put into a set


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_value_means_the_same_after_its_way_through_text(value):
    again = json.loads(json.dumps(value))
    for of in (meaning, moment, number, bag_of(), set_of(), by_member(a=number)):
        assert of(value) == of(again)
    assert meaning(meaning(value)) == meaning(value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2020-04-15T18:16:00+05:00", "2020-04-15T18:16:00+05:00"),
        ("2020-04-15 18:16+05", "2020-04-15T18:16:00+05:00"),
        ("2020-04-15t18:16:00.50z", "2020-04-15T18:16:00.50Z"),
        ("2020-04-15T18:16:00", None),  # nobody knows where
        ("2020-02-30T18:16:00Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("2020-04-15", None),
        ("20200415T181600Z", None),  # ISO 8601, and not RFC 3339
    ],
)
def test_a_date_has_one_spelling_or_is_none(text, written):
    if written is not None:
        assert date_time(text) == written
        return
    with pytest.raises(ValueError, match=r"^a d"):
        date_time(text)


def test_members_that_an_update_does_not_know_are_left_out():
    found = [{"sku": "a", "name": "A"}, {"name": "B"}, None, [1]]
    assert only("sku")(found) == [{"sku": "a"}, {}, None, [1]]
    assert [only("sku")(odd) for odd in (None, 7, {"sku": "a"})] == [None, 7, {"sku": "a"}]


def test_a_short_text_is_one_line():
    assert short("a\nb") == "a b"
    assert len(short("x" * 9_999)) == 100
    assert [short(odd) for odd in (True, 1.5, None, [], {"a": 1})] == [""] * 5


# ------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("wanted", "found", "names"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({}, {"a": 1}, ["a"]),  # left out, and still there
        ({}, {"a": None}, []),
        ({"a": None}, {}, []),
        ({"z": 1}, {}, []),  # not looked at
        ({"at": "2020-01-01T01:00:00+01:00"}, {"at": "2020-01-01T00:00:00Z"}, []),
        ({"of": {"x": 1, "y": 2}}, {"of": {"y": 3, "x": 1}}, ["of.y"]),
        ({"of": {"x": 1}}, {"of": {"x": 1, "y": 2}}, ["of.y"]),
        ({"of": {}}, {"of": {"y": None}}, []),
        ({"of": {"x": 1}}, {"of": None}, ["of.x"]),
        ({"of": {"x": 1}}, {"of": 7}, ["of.x", "of"]),
        ({"of": {"n": "1"}}, {"of": {"n": "1.0"}}, []),
    ],
)
def test_fields_that_are_different_are_named(wanted, found, names):
    meanings = {"at": moment, "of.n": number}
    told = differences(wanted, found, ["a", "at", "of"], meanings, ["of"])
    assert [each.field for each in told] == names


# ------------------------------------------------------------- what a JSON Patch leaves behind


def step(name: str, pointer: str, value: Any = None, source: str = "") -> PatchStep:
    return PatchStep(
        name, tuple(JsonPointer(pointer).parts), value, tuple(JsonPointer(source).parts)
    )


TOLD, UNTOLD = True, False
PATCHES = [
    # members are set and removed: the document tells
    ([step("replace", "/a", 1)], {"a": 1.0}, {}),
    ([step("replace", "/a", 1)], {"a": 2}, {"/a": TOLD}),
    ([step("replace", "/a", 1)], {"a": True}, {"/a": TOLD}),
    ([step("add", "/a", 1)], {}, {"/a": TOLD}),
    ([step("add", "/a/b", 1)], {}, {"/a/b": TOLD}),
    ([step("add", "/a/b", 1)], {"a": "text"}, {"/a/b": TOLD}),
    ([step("remove", "/a")], {}, {}),
    ([step("remove", "/a")], {"a": None}, {}),  # there is nothing either way
    ([step("replace", "/a", None)], {}, {}),
    ([step("remove", "/a")], {"a": 1}, {"/a": TOLD}),
    ([step("remove", "/a/b")], {}, {}),
    ([step("replace", "/at", "2020-01-01T01:00:00+01:00")], {"at": "2020-01-01T00:00:00Z"}, {}),
    # the last word counts, wherever it was said
    ([step("replace", "/a", 1), step("replace", "/a", 2)], {"a": 2}, {}),
    ([step("replace", "/a", {"x": 1}), step("replace", "/a/x", 2)], {"a": {"x": 2}}, {}),
    (
        [step("replace", "/a", {"x": 1}), step("replace", "/a/x", 2)],
        {"a": {"x": 1}},
        {"/a": TOLD, "/a/x": TOLD},
    ),
    ([step("replace", "/a/x", 2), step("replace", "/a", {"x": 1})], {"a": {"x": 1}}, {}),
    ([step("add", "/a", 1), step("remove", "/a")], {}, {}),
    ([step("replace", "/a/x", 1), step("replace", "/a", 2)], {"a": 2}, {}),
    ([step("replace", "/a/x", 1), step("replace", "/a", 2)], {"a": 3}, {"/a": TOLD}),
    ([step("add", "/l/-", 1), step("replace", "/l", [2])], {"l": [2]}, {}),
    ([step("add", "/l/-", 1), step("remove", "/l")], {"l": [2]}, {"/l": TOLD}),
    ([step("add", "/a", 1), step("remove", "/a")], {"a": 1}, {"/a": TOLD}),
    ([step("replace", "", {"a": 1})], {"a": 1}, {}),
    ([step("replace", "", {"a": 1})], {"a": 1, "b": 2}, {"": TOLD}),
    # an item that stays where it is
    ([step("replace", "/l/0", "x")], {"l": ["x", "y"]}, {}),
    ([step("replace", "/l/0", "x")], {"l": ["y"]}, {"/l/0": TOLD}),
    ([step("replace", "/l/0", "x")], {"l": []}, {"/l/0": TOLD}),
    ([step("replace", "/l/0/n", "x")], {"l": [{"n": "x"}]}, {}),
    # items that move: it depends on what was there
    ([step("add", "/l/-", "x")], {"l": ["x"]}, {"/l/-": UNTOLD}),
    ([step("add", "/l/-", "x")], {"l": []}, {"/l/-": UNTOLD}),
    ([step("add", "/l/-", "x")], {}, {"/l/-": UNTOLD}),
    ([step("add", "/l/0", "x")], {"l": ["x"]}, {"/l/0": UNTOLD}),
    ([step("remove", "/l/0")], {"l": []}, {"/l/0": UNTOLD}),
    (
        [step("replace", "/l/0", "y"), step("add", "/l/0", "x")],
        {"l": ["x", "y"]},
        {"/l/0": UNTOLD},
    ),
    (
        [step("replace", "/l/1", "y"), step("add", "/l/0", "x")],
        {"l": ["x", "a", "y"]},
        {"/l/1": UNTOLD, "/l/0": UNTOLD},
    ),
    (
        [step("replace", "/l/0", "y"), step("add", "/l/0", "x"), step("copy", "/b", source="/l/0")],
        {"l": ["x", "y"], "b": "x"},
        {"/l/0": UNTOLD, "/b": UNTOLD},
    ),
    ([step("remove", "/l/0"), step("replace", "/a", 1)], {"l": [], "a": 1}, {"/l/0": UNTOLD}),
    (
        [step("remove", "/l/0"), step("replace", "/a", 1)],
        {"l": [], "a": 2},
        {"/a": TOLD, "/l/0": UNTOLD},
    ),
    # members may be called so, too
    ([step("add", "/o/0", "x")], {"o": {"0": "x"}}, {}),
    ([step("add", "/o/-", "x")], {"o": {}}, {"/o/-": TOLD}),
    ([step("remove", "/o/0")], {"o": {"0": "x"}}, {"/o/0": TOLD}),
    ([step("add", "/-", "x")], {"-": "x"}, {}),
    # unless the patch itself says what was there
    ([step("replace", "/l", ["a"]), step("add", "/l/-", "b")], {"l": ["a", "b"]}, {}),
    ([step("replace", "/l", ["a"]), step("add", "/l/-", "b")], {"l": ["a"]}, {"/l": TOLD}),
    ([step("test", "/l", ["a"]), step("add", "/l/-", "b")], {"l": ["a", "b"]}, {}),
    ([step("test", "/l", ["a"]), step("add", "/l/-", "b")], {"l": ["a"]}, {"/l": TOLD}),
    ([step("test", "/l", ["a", "b"]), step("remove", "/l/0")], {"l": ["b"]}, {}),
    ([step("test", "/l", ["a", "b"]), step("add", "/l/1", "x")], {"l": ["a", "x", "b"]}, {}),
    # a test leaves nothing behind
    ([step("test", "/a", 1)], {"a": 2}, {}),
    ([step("test", "/a", 1), step("replace", "/b", 2)], {"a": 3, "b": 2}, {}),
    ([step("replace", "/a", 1), step("test", "/a", 2)], {"a": 2}, {"/a": TOLD}),
    ([step("test", "/a", 1), step("replace", "/a", 2)], {"a": 1}, {"/a": TOLD}),
    # what is copied is what was there
    ([step("copy", "/b", source="/a")], {"a": 1, "b": 1}, {"/b": UNTOLD}),
    ([step("replace", "/a", 1), step("copy", "/b", source="/a")], {"a": 1, "b": 1}, {}),
    ([step("test", "/a", 1), step("copy", "/b", source="/a")], {"a": 1, "b": 2}, {"/b": TOLD}),
    ([step("copy", "/l/-", source="/a")], {"l": [], "a": 1}, {"/l/-": UNTOLD}),
    (
        [
            step("copy", "/b", source="/a"),
            step("copy", "/c", source="/b"),
        ],
        {"a": 1, "b": 1, "c": 1},
        {"/b": UNTOLD, "/c": UNTOLD},
    ),
    (
        [step("copy", "/b", source="/a"), step("replace", "/b/x", 1)],
        {"b": {"x": 2}},
        {"/b/x": UNTOLD, "/b": UNTOLD},
    ),
    # what neither API documents is not looked at
    (
        [step("move", "/b", source="/a"), step("replace", "/c", 1)],
        {"c": 2},
        {"/c": UNTOLD, "/b": UNTOLD},
    ),
    # places that there cannot be
    ([step("replace", "/l/x", 1)], {"l": [1]}, {"/l/x": TOLD}),
    ([step("replace", "/l/00", 1)], {"l": [1]}, {"/l/00": TOLD}),
    ([step("replace", "/l/" + "9" * 5_000, 1)], {"l": [1]}, {"/l/" + "9" * 5_000: TOLD}),
    ([step("replace", "/a" * 9_000, 1)], {"a": DEEP}, {"/a" * 9_000: TOLD}),
]


@pytest.mark.parametrize(("steps", "document", "differences"), PATCHES)
def test_a_document_holds_a_patch_or_not_or_cannot_tell(steps, document, differences):
    before = json.dumps([steps, document])
    found = patch_differences(steps, document)
    pointers = {JsonPointer.from_parts(each.place).path: each.is_decided for each in found}
    assert pointers == differences
    assert json.dumps([steps, document]) == before


def test_what_was_wanted_and_what_is_there_are_reported():
    steps = [step("replace", "/a", {"x": 1}), step("remove", "/b"), step("add", "/l/-", "x")]
    document = {"b": [1], "l": ["y"]}
    assert [each[1:3] for each in patch_differences(steps, document)] == [
        ({"x": 1}, None),
        (None, [1]),
        ("x", None),
    ]


NAMES = st.sampled_from(["a", "b", "l", "0", "1", "-"])
VALUES = st.recursive(
    st.sampled_from([0, 1, "x", True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
POINTERS = st.lists(NAMES, min_size=1, max_size=3).map("/".join).map("/{}".format)
OPERATIONS = st.lists(
    st.builds(
        lambda op, path, value, source: (
            {"op": op, "path": path}
            | ({"value": value} if op in {"add", "replace", "test"} else {})
            | ({"from": source} if op == "copy" else {})
        ),
        st.sampled_from(["add", "replace", "remove", "copy", "test"]),
        POINTERS,
        VALUES,
        POINTERS,
    ),
    min_size=1,
    max_size=4,
)


NO_DOCUMENT = object()


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """The document after the patch; None if it cannot be applied."""
    try:
        return apply_patch(document, operations)
    except (JsonPatchException, JsonPointerException, TypeError, KeyError, AttributeError):
        return NO_DOCUMENT


def steps_of(operations: list[dict[str, Any]]) -> list[PatchStep]:
    return [step(o["op"], o["path"], o.get("value"), o.get("from", "")) for o in operations]


@settings(max_examples=400)
@given(DOCUMENTS, OPERATIONS)
def test_what_a_patch_leaves_is_never_said_to_lack_it(document, operations):
    after = patched(document, operations)
    if isinstance(after, dict):
        told = [each for each in patch_differences(steps_of(operations), after) if each.is_decided]
        assert told == [], after


@settings(max_examples=400)
@given(DOCUMENTS, OPERATIONS)
def test_a_document_that_holds_a_patch_is_not_changed_by_it(document, operations):
    changing = [each for each in operations if each["op"] != "test"]
    for found in (document, patched(document, operations)):
        if isinstance(found, dict) and not patch_differences(steps_of(operations), found):
            again = patched(found, changing)
            assert again is NO_DOCUMENT or meaning(again) == meaning(found)
