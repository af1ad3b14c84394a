"""The page of a run, and the one that lists runs: files of their own, without script or network."""
