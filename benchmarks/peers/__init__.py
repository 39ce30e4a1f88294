"""This library beside others that keep rows unique by key: Paimon, delta-rs, PyIceberg and Delta's MERGE in Spark."""
