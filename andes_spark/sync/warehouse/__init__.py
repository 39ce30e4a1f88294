"""Delivery of a table into SQL databases: net changes in one transaction, which also moves a cursor."""
