"""Being told: events of runs become log lines, metrics and messages to a webhook."""

from pipeline.notify.metrics import Metrics
from pipeline.notify.notifier import Notifier, open_teller
from pipeline.notify.server import serve_metrics

__all__ = ["Metrics", "Notifier", "open_teller", "serve_metrics"]
