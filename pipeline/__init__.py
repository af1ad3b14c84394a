"""Rows in, vendor updates out, one true result per row."""
