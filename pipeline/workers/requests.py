"""The request for some rows: the one written when its row was bound, or a new one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.model import Request, UpdateJob
from pipeline.vendors import Operation, VendorSettings
from pipeline.workers.batches import Batch


def request_for(
    operation: Operation[Any, Any],
    settings: VendorSettings,
    batch: Batch,
    jobs: Sequence[UpdateJob],
) -> Request:
    """Return the request for `batch`.

    jobs  of the rows, as they are sent now
    """
    row = batch[0]
    path, body, head = row.job.path, row.job.body, operation.head
    if path is None or body is None or head is None or len(batch) > 1 or not row.is_as_bound:
        return operation.encode(settings, jobs)
    method, headers = head(settings)
    return Request(method, path, body, headers)
