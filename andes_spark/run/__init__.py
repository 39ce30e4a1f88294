"""Execution of work in parts, and its steps, logs and metrics."""
