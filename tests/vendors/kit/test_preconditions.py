"""Tests laid before a patch hold once, and never again after it; jsonpatch is the judge."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonpatch import JsonPatchException, apply_patch
from jsonpointer import JsonPointerException

from pipeline.vendors.kit.compare import PatchStep, patch_differences
from pipeline.vendors.kit.preconditions import can_be_guarded, guards_for, is_guarded

ANY_VALUE = lambda _value: True  # noqa: E731


def as_patch(steps: list[PatchStep]) -> list[dict[str, Any]]:
    def pointer(place: tuple[str, ...]) -> str:
        return "".join(f"/{token}" for token in place)

    return [
        {"op": step.name, "path": pointer(step.place)}
        | ({"value": step.value} if step.name in {"add", "replace", "test"} else {})
        | ({"from": pointer(step.source)} if step.name == "copy" else {})
        for step in steps
    ]


def carried_out(steps: list[PatchStep], document: Any) -> Any:
    """The document after the patch; None if it is refused."""
    try:
        return apply_patch(copy.deepcopy(document), as_patch(steps))
    except (JsonPatchException, JsonPointerException, TypeError, KeyError):
        return None


scalars = st.sampled_from([1, "x", None, True])
lists = st.lists(scalars, max_size=3)
documents = st.fixed_dictionaries(
    {"n": scalars, "l": lists, "o": st.fixed_dictionaries({"l": lists, "m": scalars})}
)
places = st.sampled_from(
    ["/n", "/new", "/l", "/l/-", "/l/0", "/l/1", "/o", "/o/m", "/o/l", "/o/l/-", "/o/l/0"]
).map(lambda text: tuple(text.split("/")[1:]))
steps = st.one_of(
    st.builds(PatchStep, st.sampled_from(["add", "replace"]), places, scalars | lists, st.just(())),
    st.builds(PatchStep, st.just("remove"), places, st.none(), st.just(())),
    st.builds(PatchStep, st.just("copy"), places, st.none(), places),
)
patches = st.lists(steps, min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(patches, documents)
def test_a_guarded_patch_is_applied_once_and_refused_the_second_time(patch, document):
    tests = list(guards_for(patch, document, ANY_VALUE))
    assume(tests)
    assert can_be_guarded(patch)
    guarded = [*tests, *patch]
    assert is_guarded(guarded)
    once = carried_out(guarded, document)
    assert once == carried_out(patch, document)  # the tests hold in what was read
    if once is not None:
        assert carried_out(guarded, once) is None
        # and no read is taken to say that it was not
        assert not any(each.is_decided for each in patch_differences(guarded, once))


@settings(max_examples=150, deadline=None)
@given(patches, documents, documents)
def test_where_somebody_else_was_faster_nothing_is_done_or_it_is_the_same(patch, document, other):
    tests = list(guards_for(patch, document, ANY_VALUE))
    assume(tests)
    is_as_read = all(carried_out([test], other) is not None for test in tests)
    assert (carried_out([*tests, *patch], other) is None) or is_as_read


@pytest.mark.parametrize(
    ("patch", "can"),
    [
        ([PatchStep("add", ("l", "-"), 1)], True),
        ([PatchStep("copy", ("a",), source=("b",))], False),
        ([PatchStep("copy", ("a", "-"), source=("b",))], True),
        ([PatchStep("add", ("-",), 1)], False),
        ([PatchStep("test", ("a",), 1)], False),
    ],
)
def test_whether_anything_could_be_tested_is_known_beforehand(patch, can):
    assert can_be_guarded(patch) is can
