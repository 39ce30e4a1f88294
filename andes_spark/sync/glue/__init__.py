"""A table in the Glue Data Catalog: names, columns and versions for Athena, Trino, Spark and Redshift."""
