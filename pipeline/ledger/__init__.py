"""Results become durable: the interface, and the plain file of one run behind it."""

from pipeline.ledger.run_file import Ledger, RunFile

__all__ = ["Ledger", "RunFile"]
