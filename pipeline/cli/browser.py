"""A page is shown in the user's browser, where there is one."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path


def show(page: Path) -> str:
    """Open a page: what to tell, which names the page in any case.

    Without a screen nothing is opened: a browser for terminals would take this one over, unless
    `BROWSER` asks for it.
    """
    if not page.exists():
        return f"There is no page {page}"
    has_screen = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    is_open = has_screen and webbrowser.open(page.absolute().as_uri())
    return f"{'Opened' if is_open else 'No browser can be opened here. The page:'} {page}"
