"""Hashes that are part of the stored format: MurmurHash3 and the digest of a batch."""
