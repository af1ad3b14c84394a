"""A run in a terminal: the question before it, the live table, the lines after it.

Not here: the arguments and exit codes of commands (`cli`).
"""

from pipeline.ui.terminal.display import LiveDisplay, PlainDisplay
from pipeline.ui.terminal.screens import Question, SendTarget, closing, show_question

__all__ = [
    "LiveDisplay",
    "PlainDisplay",
    "Question",
    "SendTarget",
    "closing",
    "show_question",
]
