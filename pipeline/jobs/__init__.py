"""The typed jobs of a run on disk, and the snapshot of its input that they were made from.

Files of jobs are written once and only read afterwards. Subsets of them and joins with jobs of
other runs are made here, in bounded memory.

Not here: how an input file is read (`loader`) and which of two rows is newer (`run`).
"""

from pipeline.jobs.jobs_file import JobsFile, read_jobs

__all__ = ["JobsFile", "read_jobs"]
