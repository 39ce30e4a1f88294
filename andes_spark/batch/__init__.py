"""How a batch becomes mod files: conditions, preparing, parts, cross checks."""
