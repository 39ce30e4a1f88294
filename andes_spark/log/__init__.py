"""The log: manifests, files of mods, batches; how a version is committed."""
