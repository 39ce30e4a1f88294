#!/usr/bin/env bash
# Tests on the pairs of Spark and Delta that fleets have, each in an environment of its own in .cache:
# matrix.sh conformance|all emr-7|emr-8|spark... Extra arguments of pytest are taken from ARGS.
set -euo pipefail
cd "$(dirname "$0")/.."

part=$1
shift

# An environment with the wheel and what it asks for beside that pair, nothing else.
set_up() {
    local pair=$1 folder=$2
    if cmp -s setup.cfg "$folder/installed.cfg"; then return; fi
    printf 'matrix: installing the wheel beside %s\n' "$pair" >&2
    rm -rf "$folder"
    .venv/bin/python -m venv "$folder"
    scripts/run.sh python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$folder/wheel" .
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
    local wheel
    wheel=$(echo "$folder"/wheel/*.whl)
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel[$pair,aws,test]"
    "$folder/bin/python" -m pip check
    cp setup.cfg "$folder/installed.cfg"
}

run_tests() {
    local tests=(tests/conformance)
    if [ "$part" = all ]; then
        tests+=(tests/spark tests/jobs tests/notebooks)
        scripts/run.sh scripts/demo.sh
    fi
    # Spark as people run it: adaptive execution and code generation on.
    # shellcheck disable=SC2086
    scripts/run.sh pytest --spark-defaults "${tests[@]}" ${ARGS:-}
}

for pair in "$@"; do
    VENV=$PWD/.cache/sparks/$pair
    set_up "$pair" "$VENV"
    export VENV
    printf '\nmatrix: %s of %s\n' "$part" "$(scripts/run.sh python -c 'import pyspark; print("Spark", pyspark.__version__)')"
    run_tests
done
