"""Jobs that a cluster runs: a feed's records read, turned into mods and applied."""
