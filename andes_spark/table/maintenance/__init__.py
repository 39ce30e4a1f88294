"""Maintenance of a table: verification, and setting versions aside."""
