"""What was sent for a row that did not succeed, and what came back."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.model.result import Status


class Exchange(NamedTuple):
    """The last exchange about a row, for people and the vendor's support; no secret is in it.

    status, error_code  of the row's result
    request  as a shell command, credentials as variables; cut where it is very long
    reply    status line, the headers that help, an empty line and the body, cut where it is long;
             or what came in its stead
    """

    row: int
    status: Status
    error_code: str
    request: str
    reply: str
