"""Open a page in the user's browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path


def show(page: Path) -> str:
    """Open a page; return a message that names it.

    Without a display nothing is opened, since a text browser would take over this terminal, unless
    `BROWSER` is set.
    """
    if not page.exists():
        return f"No page at {page}"
    has_screen = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    is_open = has_screen and webbrowser.open(page.absolute().as_uri())
    return f"{'Opened' if is_open else 'Cannot open a browser here. Page:'} {page}"
