"""The log: manifests, mod files, the ledger of batch ids; how a version is committed and what is pending."""
