"""Events of runs become log lines, metrics and messages to a webhook.

Not here: what a person sees in a terminal or on a page (`ui`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.notify.metrics import Metrics
from pipeline.notify.notifier import Notifier, open_notifier

if TYPE_CHECKING:
    from pipeline.notify.server import serve_metrics

__all__ = ["Metrics", "Notifier", "open_notifier", "serve_metrics"]


def __getattr__(name: str) -> Any:
    if name != "serve_metrics":  # only `watch` needs a web server, so it is imported when used
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.server").serve_metrics
