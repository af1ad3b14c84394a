"""Promises of the product, each tried from outside."""
