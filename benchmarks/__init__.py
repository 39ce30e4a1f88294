"""Benchmarks side by side with Delta's MERGE; see ``__main__``."""
