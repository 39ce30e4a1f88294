"""The log: manifests, mod files and the ledger of batch ids; commits and pending versions."""
