"""Measurements against the budgets, on a whole running system: `make bench`, docs/benchmarks.md."""
