"""How work runs: where its parts run, and what is measured, logged and reported of it."""
