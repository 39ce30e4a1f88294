"""The base: a Delta table merged from the log; keys located, the law evaluated against it, without a JVM."""
