"""Taking in existing tables, copying tables, and removing them."""
