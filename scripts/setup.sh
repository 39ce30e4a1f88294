#!/usr/bin/env bash
# Sets up all that the project needs, in its own folder: .venv, and .cache with Java (where the machine has
# none) and the jars. Does only what is not done yet, so every target of the Makefile calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

apt_install() {
    is_root && command -v apt-get >/dev/null || return 1
    say "installing $* with apt"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null >&2 || true
    apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "no Python 3.11 or newer was found; install one, for example: apt-get install python3 python3-venv"
}

make_venv() {
    if .venv/bin/python -m pip --version >/dev/null 2>&1; then return; fi
    local python version
    python=$(find_python)
    rm -rf .venv
    say "making .venv with $python"
    if "$python" -m venv .venv >/dev/null 2>&1; then return; fi
    # Debian ships venv without the part that brings pip.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt_install "python$version-venv" || apt_install python3-venv ||
        fail "$python cannot make a virtual environment with pip; as root: apt-get install python3-venv"
    rm -rf .venv
    "$python" -m venv .venv
}

install_packages() {
    if cmp -s setup.cfg .venv/installed.cfg; then return; fi
    say "installing the package and what it needs"
    # Debian's pip is old enough to build pyspark in a way that it warns about itself.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip </dev/null
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[spark,aws,test,dev]' </dev/null
    cp setup.cfg .venv/installed.cfg
}

# A home of Java 17 or 21, or nothing.
java_home_of() {
    local java version
    java=$(readlink -f "$1") && [ -x "$java" ] || return 1
    version=$("$java" -version 2>&1 </dev/null | sed -n '1s/.*version "\([0-9]*\).*/\1/p')
    case $version in 17 | 21) dirname "$(dirname "$java")" ;; *) return 1 ;; esac
}

find_java() {
    local candidate
    for candidate in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java || true)" \
        /usr/lib/jvm/*/bin/java .cache/java/usr/lib/jvm/*/bin/java; do
        if java_home_of "$candidate"; then return; fi
    done
    return 1
}

# Without root: Debian's package, unpacked into the project's folder. The lists of packages are kept there too.
unpack_java() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    local here="$PWD/.cache/apt" package options
    mkdir -p "$here/lists/partial" "$here/archives/partial" .cache/java
    options=(-q -o "Dir::State::lists=$here/lists" -o "Dir::Cache=$here" -o Debug::NoLocking=1)
    is_root && options+=(-o APT::Sandbox::User=root)
    apt-get "${options[@]}" update </dev/null >&2 || return 1
    for package in openjdk-17-jre-headless openjdk-21-jre-headless; do
        say "unpacking $package into .cache/java"
        if (cd "$here" && rm -f ./*.deb && apt-get "${options[@]}" download "$package" </dev/null >&2); then
            dpkg-deb -x "$here"/"$package"_*.deb .cache/java || return 1
            .venv/bin/python scripts/unpacked_java.py .cache/java
            rm -rf "$here"
            return
        fi
    done
    return 1
}

provide_java() {
    local home
    if ! home=$(find_java); then
        apt_install openjdk-17-jre-headless || apt_install openjdk-21-jre-headless || unpack_java || true
        home=$(find_java) || fail "no Java 17 or 21 was found or could be installed; install one and set JAVA_HOME"
    fi
    mkdir -p .cache
    (cd "$home" && pwd) >.cache/java_home
}

# The database of the tests of sync_sql; the library itself needs none.
provide_postgres() {
    if command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then return; fi
    apt_install postgresql || say "PostgreSQL is missing, and the tests of sync_sql need it: apt-get install postgresql"
}

make_venv
install_packages
provide_java
provide_postgres
scripts/run.sh python -m andes_spark.spark.jars --s3 --cache-dir .cache/jars >/dev/null
