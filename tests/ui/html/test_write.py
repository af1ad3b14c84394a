"""What lies on the disk: the page, the list of runs, and what vouches for them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline.model import RowResult, Status
from pipeline.reporter import ReportError
from pipeline.ui.html import run_index
from pipeline.ui.html.run_index import Card, card_of, earlier, read_cards
from tests.reporter.runs import FACTS, rejected, snapshot, source, text_frame, updated, write_report
from tests.ui.html.pages import STARTED, source_of

MAX_BYTES = 2_000_000


def write(tmp_path, run, **about):
    return write_report(source_of(tmp_path / "own", run=run, **about), tmp_path / "reports" / run)


def test_the_summary_vouches_for_the_page(tmp_path):
    summary = write(tmp_path, "r", rows=200)
    content = (tmp_path / "reports" / "r" / "report.html").read_bytes()
    assert summary.page.sha256 == hashlib.sha256(content).hexdigest()
    assert summary.page.bytes == len(content)
    assert summary.outputs["errors"].sha256.encode() in content


def test_the_page_names_what_was_cleared_and_what_was_kept(tmp_path):
    write(tmp_path, "r", rows=200)
    page = (tmp_path / "reports" / "r" / "report.html").read_text(encoding="utf-8")
    assert page.index("Cleared fields") < page.index("<code>date_end</code>")
    assert page.index("Kept fields") < page.index("<code>oracle.offer-status</code>")


def test_a_page_tells_of_a_pace_that_was_learned_or_slowed(tmp_path):
    taken = snapshot(tmp_path, text_frame({"sku": ["a"]}))
    shop = replace(FACTS.accounts[0], quota="auto", rate_per_s=41.5, slowed_to="5/s")
    facts = replace(FACTS, accounts=(shop,))
    write_report(source(taken, [updated(1)], facts=facts), tmp_path / "reports" / "r")
    page = (tmp_path / "reports" / "r" / "report.html").read_text(encoding="utf-8")
    assert "shop: learned from the replies; 41.5 requests/s at the end" in page
    assert "shop: slowed down to 5/s by `pipeline runs --quota`" in page


def test_a_page_stays_small_where_everything_is_different_and_long(tmp_path):
    """A thousand kinds of errors, each as long as it gets, in a wide file."""
    rows = 1_200
    cells = {f"column {number} {'<' * 30}": ["&" * 3_000] * rows for number in range(40)}
    results = [
        rejected(row, error=f"{chr(97 + row % 26)}{'<&>' * 3_000}", code=f"c{row:x}g".strip("0123"))
        for row in range(1, rows + 1)
    ]
    taken = snapshot(tmp_path, text_frame(cells))
    summary = write_report(source(taken, results), tmp_path / "reports" / "r")
    assert summary.page.bytes < MAX_BYTES


def test_a_page_is_made_from_texts_that_no_page_can_hold(tmp_path):
    """Half a surrogate pair, NUL, escapes and marks that turn a line around."""
    words = "bad \ud83d \x00 \x1b[31m red \u202e end"
    taken = snapshot(tmp_path, text_frame({"sku\u202e": ["\x07bell", "b"]}))
    write_report(source(taken, [rejected(1, error=words), updated(2)]), tmp_path / "reports" / "r")
    page = (tmp_path / "reports" / "r" / "report.html").read_text(encoding="utf-8")
    assert "end" in page
    assert not {"\x00", "\x1b", "\x07", "\u202e"} & set(page)


def test_a_failed_report_leaves_no_page_of_an_older_one(tmp_path):
    taken = snapshot(tmp_path, text_frame({"sku": ["a"]}))
    folder = tmp_path / "reports" / "r"
    write_report(source(taken, [updated(1)]), folder)
    with pytest.raises(ReportError):
        write_report(source(taken, [updated(1), updated(2)]), folder)
    assert not (folder / "report.html").exists()


def test_a_list_that_cannot_be_written_does_no_harm_to_the_report(tmp_path):
    (tmp_path / "reports" / "index.html" / "in the way").mkdir(parents=True)
    assert write(tmp_path, "r", rows=5).rows == 5
    names = {path.name for path in (tmp_path / "reports").iterdir()}
    assert names == {"index.html", "latest", "r"}


def test_the_list_leaves_out_what_is_no_report(tmp_path):
    write(tmp_path, "good", rows=5)
    for name, text in {"torn": "{", "other": '{"format": 1}'}.items():
        (tmp_path / "reports" / name).mkdir()
        (tmp_path / "reports" / name / "summary.json").write_text(text)
    (tmp_path / "reports" / "a file").write_text("")
    assert [card.run for card in read_cards(tmp_path / "reports")] == ["good"]


def test_a_summary_of_before_there_were_pages_is_listed(tmp_path):
    write(tmp_path, "old", rows=5)
    path = tmp_path / "reports" / "old" / "summary.json"
    told = json.loads(path.read_text())
    del told["page"], told["operations"]
    path.write_text(json.dumps(told))
    write(tmp_path, "new", rows=5)
    assert 'href="old/summary.json"' in (tmp_path / "reports" / "index.html").read_text()


def test_only_the_newest_reports_are_read(tmp_path, monkeypatch):
    for day in range(4):
        write(tmp_path, f"2026110{day}T", rows=3, started=STARTED + timedelta(days=day))
    assert [card.run for card in read_cards(tmp_path / "reports", most=2)] == [
        *("20261103T", "20261102T")
    ]
    assert run_index.MAX_RUNS >= 100


def card(run: str, days_ago: int = 1, **changed: object) -> Card:
    base = {
        "run": run,
        "why": "",
        "exit_code": 0,
        "is_simulated": False,
        "input": {"file": "a.csv"},
        "rows": 10,
        "statuses": {"updated": 10},
        "operations": {"xsolla.coupon": {"updated": 10}},
        "requests": 10,
        "retries": 0,
        "started": STARTED - timedelta(days=days_ago),
        "seconds": 1.0,
        "rows_per_s": 10.0,
    }
    return Card.model_validate(base | changed)


@pytest.mark.parametrize(
    ("other", "is_compared"),
    [
        (card("before"), True),
        (card("invalid rows beside", operations={"xsolla.coupon": {}, "": {}}), True),
        (card("later", days_ago=-1), False),
        (card("another operation", operations={"oracle.offer-status": {}}), False),
        (card("simulated", is_simulated=True), False),
        (card("refused", requests=0), False),
        (card("this"), False),
    ],
)
def test_what_a_run_is_compared_with(other, is_compared):
    assert earlier([other], card("this", days_ago=0)) == [other] * is_compared


def test_operations_add_up_to_the_statuses(tmp_path):
    results = [updated(1), rejected(2), RowResult(3, "", "", Status.INVALID)]
    taken = snapshot(tmp_path, text_frame({"sku": ["a", "b", "c"]}))
    summary = write_report(source(taken, results), tmp_path / "reports" / "r")
    assert set(summary.operations) == {"", "xsolla.coupon"}
    for status in Status:
        told = sum(counts[status] for counts in summary.operations.values())
        assert told == summary.statuses[status]
    assert card_of(summary).wrong == 2
