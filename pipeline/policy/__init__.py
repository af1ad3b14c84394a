"""Decisions: pure functions and small state machines. No await, clock, randomness or I/O."""
