"""Parts of every vendor: contract, classification, comparison, JSON Patch. Pure.

Not here: facts of one vendor.
"""
