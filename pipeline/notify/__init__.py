"""Events of runs become log lines, metrics and messages to a webhook.

Not here: what a person sees in a terminal or on a page (`ui`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.notify.notifier import Notifier, open_notifier

if TYPE_CHECKING:
    from pipeline.notify.metrics import Metrics
    from pipeline.notify.server import serve_metrics

__all__ = ["Metrics", "Notifier", "open_notifier", "serve_metrics"]


_RARE = {"Metrics": "metrics", "serve_metrics": "server"}
"""Name -> the file that defines it. Few runs keep metrics, so these are imported when used."""


def __getattr__(name: str) -> Any:
    if name not in _RARE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_RARE[name]}"), name)
