"""A patch is applied as RFC 6902 says, and its inverse restores the state before."""

from __future__ import annotations

import copy

import jsonpatch
import jsonpointer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.vendors.kit.compare import PatchStep
from pipeline.vendors.kit.json_patch import applied, restoring

DOCUMENT = {"name": "a", "tags": ["x", "y"], "limit": {"cap": 1, "per": None}, "empty": []}

values = st.sampled_from([None, 1, "b", [], ["z"], {"cap": 2}, {}])
places = st.sampled_from(
    [
        *(("name",), ("new",), ("tags",), ("tags", "0"), ("tags", "-"), ("tags", "2")),
        *(("limit",), ("limit", "cap"), ("limit", "new"), ("limit", "per"), ("empty", "-")),
        *(("none", "below"), ("name", "below"), ("tags", "01"), ("tags", "0", "deep")),
    ]
)
steps = st.one_of(
    st.builds(PatchStep, st.sampled_from(["add", "replace", "test"]), places, values, st.just(())),
    st.builds(PatchStep, st.just("remove"), places, st.none(), st.just(())),
    st.builds(PatchStep, st.sampled_from(["copy", "move"]), places, st.none(), places),
)


def by_the_library(patch: list[PatchStep]) -> object:
    operations = []
    for step in patch:
        operation = {"op": step.name, "path": jsonpointer.JsonPointer.from_parts(step.place).path}
        if step.name in {"copy", "move"}:
            operation["from"] = jsonpointer.JsonPointer.from_parts(step.source).path
        else:
            operation["value"] = step.value
        operations.append(operation)
    try:
        return jsonpatch.apply_patch(copy.deepcopy(DOCUMENT), operations)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError):
        return None


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=4))
def test_a_patch_leaves_what_the_library_leaves(patch):
    if any(s.name == "move" and s.place[: len(s.source)] == s.source for s in patch):
        return  # into itself: the library has no one opinion
    assert applied(patch, DOCUMENT) == by_the_library(patch)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=4))
def test_what_is_undone_is_what_was_there(patch):
    after = applied(patch, DOCUMENT)
    if after is None:
        return
    back = restoring(patch, DOCUMENT, after)
    assert applied(back, after) == DOCUMENT
    assert not any(token.isdigit() for step in back for token in step.place), "a place in a list"


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=3), values)
def test_what_somebody_else_wrote_elsewhere_stays(patch, value):
    after = applied(patch, DOCUMENT)
    if after is None:
        return
    theirs = {**after, "theirs": value}
    assert applied(restoring(patch, DOCUMENT, after), theirs) == {**DOCUMENT, "theirs": value}


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (PatchStep("replace", ("none",), 1), "nothing stands there"),
        (PatchStep("remove", ("tags", "9")), "the list is shorter"),
        (PatchStep("test", ("name",), "b"), "the test does not hold"),
        (PatchStep("test", ("limit", "cap"), True), "1 is not true"),
        (PatchStep("unknown", ("name",), 1), "no such operation"),
    ],
)
def test_a_patch_that_does_not_fit_leaves_nothing(step, why):
    assert applied([step], DOCUMENT) is None, why
