"""Merging: pending versions folded into the base in one Delta commit, compaction, rewriting of files."""
