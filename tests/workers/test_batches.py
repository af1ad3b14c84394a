"""Which request leaves for a row: the one written when it was bound, or a new one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.model import JobRow, Request
from pipeline.vendors import RequestHead
from pipeline.workers.batches import Row, request_for
from tests.workers.drive import ACCOUNT, PRICE

HEADERS = {"Content-Type": "application/json"}
BOUND = replace(PRICE, head=lambda _s: RequestHead("PUT", HEADERS))
JOB = JobRow(1, "acme.price", "e", True, '{"sku":"a","cents":1}', path="/bound", body=b"{}")


def row(job: JobRow = JOB, **slots: str) -> Row:
    found = Row(job)
    for name, value in slots.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("operation", "rows", "is_bound"),
    [
        (BOUND, [row()], True),
        (BOUND, [row(JOB._replace(body=b""))], True),  # an empty body is one, too
        (BOUND, [row(JOB._replace(path=None, body=None))], False),
        (BOUND, [row(), row()], False),  # a group has a request of its own
        (BOUND, [row(guarded_text=JOB.text)], False),  # the precondition is in it
        (BOUND, [row(merged_text=JOB.text)], False),  # the entity's other fields are in it
        (PRICE, [row()], False),  # method and headers are not known
    ],
)
def test_the_bound_request_is_sent_if_the_row_is_sent_as_bound(operation, rows, is_bound):
    bound = Request("PUT", "/bound", rows[0].job.body or b"", HEADERS)
    request = request_for(operation, ACCOUNT.settings, rows)
    assert request == (bound if is_bound else Request("PUT", "/a"))
