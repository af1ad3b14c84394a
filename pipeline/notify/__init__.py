"""Events of runs become log lines, metrics and messages to a webhook.

Not here: what a person sees in a terminal or on a page (`ui`).
"""

from pipeline.notify.metrics import Metrics
from pipeline.notify.notifier import Notifier, open_notifier
from pipeline.notify.server import serve_metrics

__all__ = ["Metrics", "Notifier", "open_notifier", "serve_metrics"]
