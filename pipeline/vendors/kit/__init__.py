"""What vendors are made with: contract, classification, comparison, JSON Patch. Pure.

Not here: facts of one vendor.
"""
