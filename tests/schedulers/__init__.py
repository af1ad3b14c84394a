"""Tests with real workflow engines, too heavy for every machine: `make test-schedulers`."""
