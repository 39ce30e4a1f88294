"""Versions of a table: what each one committed."""
