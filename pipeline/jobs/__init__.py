"""The typed jobs of a run on disk, and the snapshot of its input that they were made from.

Files of jobs are written once and only read afterwards. Subsets of them and joins with jobs of
other runs are made here, in bounded memory. How a file is read is the loader's concern.
"""

from pipeline.jobs.jobs_file import JobsFile, read_jobs

__all__ = ["JobsFile", "read_jobs"]
