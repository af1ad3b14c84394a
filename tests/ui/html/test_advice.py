import pytest

from pipeline.model import Status
from pipeline.ui.html.advice import NextStep, ended, steps
from tests.reporter.runs import rejected, snapshot, source, text_frame, updated, write_report
from tests.ui.html.pages import source_of


def summary_of(tmp_path, results, **facts):
    taken = snapshot(tmp_path, text_frame({"sku": [str(row) for row in range(len(results))]}))
    return write_report(source(taken, results, **facts), tmp_path / "reports" / "r")


def test_where_all_went_well_nothing_is_to_be_done(tmp_path):
    assert steps(summary_of(tmp_path, [updated(1), updated(2)])) == ()


def test_the_hint_of_the_most_frequent_error_leads_to_it(tmp_path):
    summary = summary_of(tmp_path, [rejected(1), rejected(2), updated(3)])
    assert steps(summary) == (
        NextStep(text="2 rows rejected: check the id", anchor="kind-1"),
        NextStep(text="Fix the rows in the error file and send it again", anchor="why"),
    )


def test_a_hint_is_told_once(tmp_path):
    summary = summary_of(tmp_path, [rejected(1, code="a"), rejected(2, code="b")])
    assert [step.text for step in steps(summary)].count("1 row rejected: check the id") == 1


def test_stops_and_doubt_come_first_and_the_command_last(tmp_path):
    """A name with a blank is quoted: the command is to be pasted."""
    faulty = source_of(tmp_path / "own", 500, run="a b", stopped_by="interrupted by SIGTERM")
    found = steps(write_report(faulty, tmp_path / "reports" / "a b"))
    assert found[0].text == "The run ended early: interrupted by SIGTERM"
    assert found[1].text.startswith("Check 5 rows at the vendor")
    assert found[-1].command == "pipeline resume 'a b'"


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (0, "Succeeded"),
        (1, "Some rows did not succeed"),
        (2, "Nothing was sent"),
        (3, "Stopped early"),
        (130, "Interrupted"),
        (143, "Interrupted"),
    ],
)
def test_the_end_in_words(tmp_path, exit_code, words):
    summary = summary_of(tmp_path, [updated(1)])
    assert summary.statuses[Status.UPDATED] == 1
    assert ended(summary.model_copy(update={"exit_code": exit_code})) == words
