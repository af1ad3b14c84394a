"""The page of a run and the list of runs: self-contained files without scripts or network.

Not here: the figures that they show (`reporter`).
"""
