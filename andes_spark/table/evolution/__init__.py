"""Changes of a table's definition: schema and properties."""
