"""One module per verb of a table: create, apply, merge, read, and reports of what there is."""
