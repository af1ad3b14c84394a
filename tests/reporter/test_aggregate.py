from pipeline.model import RowResult, Status
from pipeline.reporter.aggregate import MAX_ROWS, Aggregate
from pipeline.reporter.matching import match_results
from tests.reporter.runs import snapshot, source, text_frame

CELLS = {"sku": [f"s{row}" for row in range(1, 101)], "name": ["x" * 500] * 100}


def aggregate_of(tmp_path, results, shown=(), cells=CELLS, size=7):
    """Rows pass by a few at a time, as they do in a large file."""
    taken = snapshot(tmp_path, text_frame(cells))
    aggregate = Aggregate(taken)
    for frame, results_of in match_results(source(taken, results)):
        for start in range(0, frame.height, size):
            part = results_of.slice(start, size)
            here = [row for row in shown if row in set(part["_row"])]
            aggregate.add(frame.slice(start, size), part, here)
    return aggregate


def sent(row, seconds, attempts=1):
    return RowResult(row, "o", "a", Status.UPDATED, attempts=attempts, seconds=seconds)


def test_the_slowest_rows_are_found_wherever_they_stand(tmp_path):
    took = {row: (row * 37) % 101 / 10 for row in range(1, 101)}
    aggregate = aggregate_of(tmp_path, [sent(row, took[row]) for row in took])
    slowest = sorted(took, key=lambda row: -took[row])[:MAX_ROWS]
    assert [each["_row"] for each in aggregate.slowest] == slowest
    assert [aggregate.examples[row].cells[0] for row in slowest] == [
        ("sku", f"s{row}") for row in slowest
    ]


def test_only_rows_that_were_sent_again_count_as_retried(tmp_path):
    results = [sent(row, 1.0, attempts=3 if row in {20, 90} else 1) for row in range(1, 101)]
    aggregate = aggregate_of(tmp_path, results)
    assert [each["_row"] for each in aggregate.most_retried] == [20, 90]
    assert aggregate.attempts == {1: 98, 3: 2}


def test_rows_that_were_never_sent_are_not_slow(tmp_path):
    aggregate = aggregate_of(tmp_path, [RowResult(1, "", "", Status.INVALID)])
    assert aggregate.slowest == []
    assert aggregate.attempts == {0: 100}


def test_examples_are_kept_shortened_and_without_empty_cells(tmp_path):
    cells = {"sku": ["a", "b"], "name": ["x" * 500, None], "_status": ["rejected", "rejected"]}
    aggregate = aggregate_of(tmp_path, [sent(1, 1.0), sent(2, 1.0)], shown=[1, 2], cells=cells)
    first, second = aggregate.examples[1], aggregate.examples[2]
    assert first.cells == (("sku", "a"), ("name", f"{'x' * 79}…"))
    assert second.cells == (("sku", "b"),)
    assert (first.row, first.line) == (1, 2)


def test_what_is_kept_does_not_grow_with_the_rows(tmp_path):
    """Rows get slower and slower: each displaces another, whose cells are let go."""
    aggregate = aggregate_of(tmp_path, [sent(row, float(row), attempts=2) for row in range(1, 101)])
    assert set(aggregate.examples) == set(range(91, 101))
