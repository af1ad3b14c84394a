"""The parts of a vendor file: contract, classification, comparison, JSON Patch. Pure.

Not here: facts of one vendor.
"""
