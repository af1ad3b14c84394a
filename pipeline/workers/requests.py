"""The request for some rows: the one written when its row was bound, or a new one. Pure."""

from __future__ import annotations

from typing import Any

from pipeline.model import Request
from pipeline.vendors import Operation, VendorSettings
from pipeline.workers.batches import Batch


def request_for(
    operation: Operation[Any, Any],
    settings: VendorSettings,
    batch: Batch,
) -> Request:
    """Return the request for `batch`."""
    row = batch[0]
    path, body, head = row.job.path, row.job.body, operation.head
    if path is None or body is None or head is None or len(batch) > 1 or not row.is_as_bound:
        return operation.encode(settings, [operation.job_type.trusted(row.text) for row in batch])
    method, headers = head(settings)
    return Request(method, path, body, headers)
