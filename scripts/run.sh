#!/usr/bin/env bash
# Runs a command in what setup.sh has set up: run.sh pytest tests/law. VENV names another environment than .venv.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

JAVA_HOME=$(cat "$root/.cache/java_home")
export JAVA_HOME
export PATH="${VENV:-$root/.venv}/bin:$JAVA_HOME/bin:$PATH"
# A JVM in the POSIX locale cannot name files beyond ASCII.
export LC_ALL="${LC_ALL:-${LANG:-C.UTF-8}}"
exec "$@"
