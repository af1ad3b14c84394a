import pytest

from pipeline.model import Status
from pipeline.model.exchange import Exchange
from pipeline.reporter.summary import ErrorSummary
from pipeline.ui.html.sample_exchanges import sample_exchanges


def kind(*rows: int, code: str = "a", status: Status = Status.REJECTED) -> ErrorSummary:
    return ErrorSummary(status=status, code=code, message="", hint="", count=9, rows=rows)


def kept(row: int, code: str = "a") -> Exchange:
    return Exchange(row, Status.REJECTED, code, "curl", "HTTP 422")


@pytest.mark.parametrize(
    ("kinds", "exchanges", "rows"),
    [
        ([kind(3, 5)], [kept(1), kept(5)], {0: 5}),  # a row of its own, though another came first
        ([kind(3, 5)], [kept(1), kept(2)], {0: 1}),  # else one that ended alike
        ([kind(3), kind(4)], [kept(4), kept(3)], {0: 3, 1: 4}),  # of one code, told apart by rows
        ([kind(3, code="b")], [kept(1)], {}),  # another code says nothing
        ([kind(3, status=Status.FAILED)], [kept(1)], {}),  # nor does another status
        ([kind(3)], [], {}),
    ],
)
def test_a_kind_shows_an_exchange_of_its_own_rows(kinds, exchanges, rows):
    assert {place: each.row for place, each in sample_exchanges(kinds, exchanges).items()} == rows
