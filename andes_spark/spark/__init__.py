"""What needs Spark: the session, its jars, the kernel in tasks. Only this package imports pyspark."""
