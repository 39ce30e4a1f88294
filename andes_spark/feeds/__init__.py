"""Decoders of database change feeds into mods, independent of tables."""
