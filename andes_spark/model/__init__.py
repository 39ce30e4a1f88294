"""Stored documents and values: manifests, merge records, mods, results."""
