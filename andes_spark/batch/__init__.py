"""From the rows of a batch to mod files: conditions, preparation, parts, cross checks."""
