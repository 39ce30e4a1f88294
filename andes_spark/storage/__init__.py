"""Stores of a table's folder: disk, S3, memory. One protocol with one atomic operation."""
