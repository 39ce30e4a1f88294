"""Where a table's folder lies: disk, S3, memory. Behind one protocol, with one atomic operation."""
