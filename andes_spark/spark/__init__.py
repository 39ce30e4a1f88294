"""Code that needs Spark: sessions, jars, tasks, DataFrames. Only this package imports pyspark."""
