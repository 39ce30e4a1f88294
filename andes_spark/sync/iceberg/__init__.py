"""The Iceberg face of a table: metadata of the Iceberg specification, version 2, over the data files of the base."""
