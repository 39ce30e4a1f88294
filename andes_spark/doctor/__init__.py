"""Examination of a cluster and a store: whether tables of this library work there."""
