"""The law of mods: who wins, as functions over columns."""
