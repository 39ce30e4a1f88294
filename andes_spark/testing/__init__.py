"""Stores that tell of requests, builders of small tables and random batches, and the law in plain Python."""
