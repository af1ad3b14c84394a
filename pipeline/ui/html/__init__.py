"""The page of a run and the list of runs: self-contained files without scripts or network.

Not here: figures that the summary lacks (`reporter`).
"""
