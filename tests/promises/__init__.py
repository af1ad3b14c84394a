"""Promises of the product, each tried from outside, as properties of every file where it can be."""
