"""The parts of a vendor file: the contract, classification, comparison, JSON Patch. Pure."""
