"""Jobs of several files are joined by entity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobs.entity_join import JoinedFile, JoinedJob, join_entities, origin_runs
from pipeline.jobs.jobs_file import JobsWriter
from pipeline.model import JobRow


def joined_file(folder: Path, run: str, jobs: Sequence[JobRow]) -> JoinedFile:
    with JobsWriter(folder / f"{run}.parquet", batch_size=lambda _operation: 1) as writer:
        writer.write(jobs)
    return JoinedFile(
        path=folder / f"{run}.parquet",
        run=run,
        state=lambda rows: [f"{run} {row.row}" for row in rows],
    )


def jobs(entities: str, first: int = 1) -> list[JobRow]:
    return [
        JobRow(row, "op", entity, True, f'{{"n":{row % 2}}}')
        for row, entity in enumerate(entities, first)
    ]


def states(groups: Sequence[Sequence[JoinedJob]]) -> set[tuple[str, ...]]:
    return {tuple(each.state for each in group) for group in groups}


@pytest.mark.parametrize("part_rows", [1_000, 2])  # at once, and in parts
@pytest.mark.parametrize(
    ("own", "asking", "others", "expected"),
    [
        ("ab", {1, 2}, ["b"], {("own 2", "o0 1")}),
        ("ab", {1}, ["b"], set()),  # b is not selected
        ("ab", {1, 2}, ["c"], set()),
        ("aba", {1}, ["c"], {("own 1", "own 3")}),  # among themselves
        ("ab", {1, 2}, [], set()),
        ("ab", set(), ["ab"], set()),
        ("ab", {2}, ["ab", "bb"], {("own 2", "o0 2", "o1 1", "o1 2")}),
    ],
)
def test_rows_are_joined_by_entity(
    tmp_path: Path,
    own: str,
    asking: set[int],
    others: list[str],
    expected: set[tuple[str, ...]],
    *,
    part_rows: int,
) -> None:
    files = [joined_file(tmp_path, f"o{n}", jobs(entities)) for n, entities in enumerate(others)]
    found = list(
        join_entities(
            joined_file(tmp_path, "own", jobs(own)),
            files,
            select=asking.intersection,
            rows=10,
            folder=tmp_path,
            part_rows=part_rows,
        )
    )
    assert states(found) == expected
    assert {each.state for group in found for each in group if each.is_selected} <= {
        f"own {row}" for row in asking
    }
    assert {path.suffix for path in tmp_path.iterdir()} == {".parquet"}  # no temporary file is left


def test_the_fields_of_a_joined_job(tmp_path: Path) -> None:
    new = JobRow(1, "op", "e", True, "{}")
    old = JobRow(4, "op", "e", True, "{}", "", "monday", 5)
    other = JobRow(2, "op2", "e", True, "{}")
    (group,) = join_entities(
        joined_file(tmp_path, "own", [new, old]),
        [joined_file(tmp_path, "tuesday", [other])],
        select=lambda _rows: {1},
        rows=3,
        folder=tmp_path,
    )
    assert [(each.run, each.row, each.is_selected) for each in group] == [
        ("own", 1, True),
        ("own", 4, False),
        ("tuesday", 2, False),
    ]
    assert [(each.origin_run, each.origin_row) for each in group] == [
        ("", 0),
        ("monday", 5),
        ("", 0),
    ]
    assert group[0].payload == group[1].payload != group[2].payload


def test_no_other_file_is_opened_if_no_row_is_selected(tmp_path: Path) -> None:
    def others() -> Iterator[JoinedFile]:
        pytest.fail("it was opened")
        yield own

    own = joined_file(tmp_path, "own", jobs("ab"))
    assert not list(
        join_entities(own, others(), select=lambda _rows: set(), rows=2, folder=tmp_path)
    )


def test_the_origin_runs_of_a_file(tmp_path: Path) -> None:
    old = [JobRow(n, "op", "e", True, "{}", "", run, n) for n, run in enumerate("xyx", 1)]
    assert origin_runs(joined_file(tmp_path, "a", [*jobs("ab"), *old]).path, "a") == {"x", "y"}
    assert origin_runs(joined_file(tmp_path, "b", jobs("ab")).path, "b") == set()


@settings(max_examples=40, deadline=None)
@given(
    own=st.text("abcde", max_size=12),
    others=st.lists(st.text("abcde", max_size=8), max_size=3),
    asking=st.sets(st.integers(1, 12)),
    part_rows=st.sampled_from([1, 3, 1_000]),
)
def test_the_join_agrees_with_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory,
    own: str,
    others: list[str],
    asking: set[int],
    part_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("join")
    expected = defaultdict(list)
    for run, entities in (("own", own), *((f"o{n}", each) for n, each in enumerate(others))):
        for row, entity in enumerate(entities, 1):
            expected[entity].append(f"{run} {row}")
    wanted = {entity for row, entity in enumerate(own, 1) if row in asking}
    found = join_entities(
        joined_file(folder, "own", jobs(own)),
        [joined_file(folder, f"o{n}", jobs(entities)) for n, entities in enumerate(others)],
        select=asking.intersection,
        rows=len(own) + sum(map(len, others)),
        folder=folder,
        part_rows=part_rows,
    )
    assert states(list(found)) == {
        tuple(rows) for entity, rows in expected.items() if entity in wanted and len(rows) > 1
    }
