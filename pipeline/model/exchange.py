"""The request and reply of a row that did not succeed."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.model.result import Status


class Exchange(NamedTuple):
    """The last exchange for a row, for users and the vendor's support. Contains no secrets.

    status, error_code  of the row's result
    request  as a shell command, with variables for credentials; cut if it is very long
    reply    status line, useful headers, an empty line and the body, cut if it is long; or why
             there is no reply
    """

    row: int
    status: Status
    error_code: str
    request: str
    reply: str
