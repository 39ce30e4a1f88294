"""An open table and its operations."""
