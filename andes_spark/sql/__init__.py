"""SQL text over the columns of one row: a typed tree that is written as Spark SQL and as a polars expression.

A text selects the same rows in both engines. sqlglot parses it (``grammar``); an allow-list of its nodes is checked
by the types of the columns and converted to a tree with explicit conversions (``binder``, ``tree``, ``kinds``); the
tree is written for both engines (``spark_sql``, ``polars_expression``), so that neither applies rules of its own.
Expressions that the engines evaluate differently are refused by name.

The package depends on types only and is used by the conditions of a batch and the filters of a read. sqlglot is
imported when the first text is read.
"""
