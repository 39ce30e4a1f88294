"""Types of columns: Spark, DDL and Arrow, casts, conforming a batch to a schema, names."""
