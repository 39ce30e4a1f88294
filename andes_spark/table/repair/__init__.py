"""Repair: the base and the log say the same again."""
