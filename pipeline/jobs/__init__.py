"""The typed jobs of a run on disk, and the snapshot of its input.

Jobs files are written once. This folder makes subsets of them and joins them with jobs of other
runs, in bounded memory.

Not here: how an input file becomes jobs (`loader`).
"""

from pipeline.jobs.jobs_file import JobsFile, read_jobs

__all__ = ["JobsFile", "read_jobs"]
