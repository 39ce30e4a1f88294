"""What callers hand in as rows, brought to Arrow: DataFrames, streams, lists of dicts, files."""
