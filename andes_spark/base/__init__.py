"""The base: a Delta table merged from the log, read and written without a JVM."""
