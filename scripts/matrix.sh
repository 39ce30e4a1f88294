#!/usr/bin/env bash
# Tests on the pairs of Spark and Delta that fleets have, each in an environment of its own in .cache:
# matrix.sh conformance|all|speed emr-7|emr-8|spark... Extra arguments of pytest, or of the benchmark, are taken from ARGS.
set -euo pipefail
cd "$(dirname "$0")/.."

part=$1
shift
case $part in
conformance | all | speed) ;;
*)
    printf 'matrix: %s is no part: conformance, all or speed\n' "$part" >&2
    exit 2
    ;;
esac

# An environment with the wheel and what it asks for beside that pair, nothing else. The wheel is that of now.
set_up() {
    local pair=$1 folder=$2 wheel
    local pip=("$folder/bin/python" -m pip --quiet --disable-pip-version-check)
    printf 'matrix: installing the wheel beside %s\n' "$pair" >&2
    if ! cmp -s setup.cfg "$folder/installed.cfg"; then
        rm -rf "$folder"
        .venv/bin/python -m venv "$folder"
        "${pip[@]}" install --upgrade pip
    fi
    rm -rf "$folder/wheel"
    scripts/run.sh python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$folder/wheel" .
    wheel=$(echo "$folder"/wheel/*.whl)
    if ! cmp -s setup.cfg "$folder/installed.cfg"; then
        "${pip[@]}" install "$wheel[$pair,aws,test]"
        "${pip[@]}" check
        cp setup.cfg "$folder/installed.cfg"
    fi
    "${pip[@]}" install --no-deps --force-reinstall "$wheel"
}

run_part() {
    if [ "$part" = speed ]; then
        # shellcheck disable=SC2086
        scripts/run.sh python -m benchmarks --only pairs --out "$VENV" ${ARGS:-}
        return
    fi
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
    run_part
done
