"""Runs on record: options, folders, the registry, retention."""
