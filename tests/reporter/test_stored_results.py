from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline.model import RowResult, Status
from pipeline.reporter.columns import result_frame
from pipeline.reporter.stored_results import stored_frame
from pipeline.store.result_lines import line_of
from tests.reporter.runs import rejected, updated

TEXTS = st.one_of(
    st.sampled_from(["", "q-1", "=1", '"', "\\", 'null,"",""', "é", "\ud800", "a,b", "]"]),
    st.text(),
)
RESULTS = st.builds(
    RowResult,
    row=st.just(0),
    operation=TEXTS,
    account=TEXTS,
    status=st.sampled_from(Status),
    http_status=st.none() | st.integers(0, 2**40),
    error_code=st.just("") | TEXTS,
    error=st.just("") | TEXTS,
    hint=st.just("") | TEXTS,
    attempts=st.integers(0, 2**40),
    seconds=st.floats(0, 1e9),
    request_id=TEXTS,
    receipt=TEXTS,
)


@given(st.lists(RESULTS, max_size=9))
def test_stored_results_become_the_frame_of_their_values(given_results: list[RowResult]) -> None:
    results = [each._replace(row=row) for row, each in enumerate(given_results, 1)]
    lines = [line_of(each, seed=3) for each in results]
    assert_frame_equal(stored_frame(lines, "r"), result_frame(results, "r"), check_exact=True)


@pytest.mark.parametrize(
    "results",
    [
        [],
        [updated(1), updated(2)],  # all of them plain
        [rejected(1), rejected(2)],  # none
        [rejected(1), updated(2), rejected(3), updated(9), updated(9)],  # a row twice, too
    ],
)
def test_plain_results_and_others_keep_their_order(results: list[RowResult]) -> None:
    lines = [line_of(each, seed=0) for each in results]
    assert_frame_equal(stored_frame(lines, "r"), result_frame(results, "r"), check_exact=True)
