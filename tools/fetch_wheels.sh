#!/bin/sh
# Fills build/wheels with every wheel that the images' locks name, and build/own with Forebay's, so that an image build needs
# no network: repeatable, and possible where only this machine's pip may reach an index. Needs rustc. The locks' wheels are
# fetched once for each content of the locks and kept in the cache.
# usage: fetch_wheels.sh PYTHON      a Python of the minor version of the images'
set -eu
cd "$(dirname "$0")/.."

python=$1
key=$("$python" -c 'import sysconfig; print("cp" + sysconfig.get_config_var("py_version_nodot"), sysconfig.get_platform(), sep="-")')
key=$key-$(cat requirements-build.lock requirements-consumer.lock requirements-operator.lock | sha256sum | cut -c 1-12)
cache=${FOREBAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forebay}
wheels=$cache/wheels-$key

if [ ! -d "$wheels" ]; then
    echo "fetching the wheels of the locks into $wheels" >&2
    mkdir -p "$cache"
    draft=$(mktemp -d "$cache/.wheels-XXXXXX")
    trap 'rm -rf "$draft"' EXIT
    trap 'exit 1' INT TERM
    for lock in build consumer operator; do
        "$python" -m pip download --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
            --dest "$draft" -r "requirements-$lock.lock"
    done
    chmod 755 "$draft"
    # Whole or not at all; another one may have been quicker.
    mv -T "$draft" "$wheels" 2>/dev/null || [ -d "$wheels" ]
fi

rm -rf build/own build/wheels build/tools
mkdir -p build/own build/wheels
cp -p "$wheels"/*.whl build/wheels/
"$python" -m venv build/tools
build/tools/bin/pip install --quiet --disable-pip-version-check --no-index --find-links build/wheels --require-hashes \
    -r requirements-build.lock
FOREBAY_NATIVE=require build/tools/bin/python -m hatchling build -t wheel -d build/own >&2
rm -rf build/tools
