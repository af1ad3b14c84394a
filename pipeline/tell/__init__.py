"""Being told: events of runs become log lines, metrics and messages to a webhook."""

from pipeline.tell.metrics import Metrics
from pipeline.tell.server import serve_metrics
from pipeline.tell.teller import Teller, open_teller

__all__ = ["Metrics", "Teller", "open_teller", "serve_metrics"]
