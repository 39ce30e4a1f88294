"""Keys as words that sort and compare like the keys, and ranges of keys."""
