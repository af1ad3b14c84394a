"""A run in a terminal: the prompt before it, the live table, the result after it.

Not here: the arguments and exit codes of commands (`cli`).
"""

from pipeline.ui.terminal.display import LiveDisplay, PlainDisplay
from pipeline.ui.terminal.screens import Question, SendTarget, show_question, show_result

__all__ = [
    "LiveDisplay",
    "PlainDisplay",
    "Question",
    "SendTarget",
    "show_question",
    "show_result",
]
