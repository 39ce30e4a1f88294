"""Conversion of inputs to Arrow: DataFrames, streams, lists of dicts, files."""
