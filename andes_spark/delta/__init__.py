"""The Delta protocol as a library that knows nothing of mods: log, state, actions, checkpoints, statistics, vectors."""
