"""Stores that report requests, builders of small tables and random batches, and a reference model of merges."""
