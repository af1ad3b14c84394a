"""What is shown of a verification."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from pipeline.cli.screens import show_verified
from pipeline.plan import Verified


def test_rows_whose_read_told_nothing_are_not_verified():
    console = Console(file=StringIO(), width=100)
    show_verified(console, "monday", Verified(rows=6, of=6, unread=4, requests=6))
    assert "monday: 2 rows verified in 6 requests, no drift" in console.file.getvalue()
    assert "4 rows: the vendor did not return the state" in console.file.getvalue()
