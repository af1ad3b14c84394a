"""A store on files of one machine: SQLite, and locks that the kernel releases when a process ends.

Not here: SQLite files in general and the ledger in one (`store`), other stores.
"""

from pipeline.store.on_files.store import FileStore

__all__ = ["FileStore"]
