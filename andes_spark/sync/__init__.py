"""What makes a table visible to others: one room per target."""
