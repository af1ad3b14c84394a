"""A run in a terminal: the prompt before it, the live table, the result after it.

Not here: the arguments and exit codes of commands (`cli`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.ui.terminal.question import Question, SendTarget, show_question

if TYPE_CHECKING:
    from pipeline.ui.terminal.display import LiveDisplay, PlainDisplay
    from pipeline.ui.terminal.result import show_result, show_total

__all__ = [
    "LiveDisplay",
    "PlainDisplay",
    "Question",
    "SendTarget",
    "show_question",
    "show_result",
    "show_total",
]

_SENDING = {
    "LiveDisplay": "display",
    "PlainDisplay": "display",
    "show_result": "result",
    "show_total": "result",
}
"""Name -> the file that defines it. A check of a file sends nothing, so these are imported when
they are first used."""


def __getattr__(name: str) -> Any:
    if name not in _SENDING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_SENDING[name]}"), name)
