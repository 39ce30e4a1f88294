"""Upkeep of a table: verification of everything that is stored."""
