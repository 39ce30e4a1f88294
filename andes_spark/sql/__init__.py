"""SQL text over the columns of one row: one tree, judged by types, that writes Spark SQL and a polars expression.

A text is about the same rows in the same table whichever engine looks at them. sqlglot reads it (``grammar``); an
allow-list of its nodes is judged by the types of the columns and becomes a tree (``bind``, ``tree``, ``kinds``) in
which every conversion is explicit; the tree is written for both engines (``spark_sql``, ``polars_expression``), so
that neither applies rules of its own. What the engines do differently is refused by name.

A room of its own, which knows types and nothing else: the conditions of a batch and the filters of a read use it
alike, and whatever else takes SQL text can. sqlglot is imported when the first text is read.
"""
