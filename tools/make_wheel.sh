#!/bin/sh
# Runs inside the image build: the wheel, native encoder included, unpacked into FOLDER. One that was made outside is taken
# as it is; else a compiler is installed, which stays in this stage, and the wheel is made of the sources around.
# A folder of its own: a new commit then changes one small layer of the images, and none of the dependencies'.
# usage: make_wheel.sh FOLDER
set -eu

if ! ls forebay-*.whl >/dev/null 2>&1; then
    if ! command -v rustc >/dev/null; then
        apt-get update
        apt-get install -y --no-install-recommends gcc libc6-dev rustc
    fi
    /build/bin/pip install --require-hashes -r /wheels/requirements-build.lock
    FOREBAY_NATIVE=require /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir . .
fi
/build/bin/pip install --no-index --no-deps --no-compile --target "$1" forebay-*.whl
rm -rf "$1/bin"
# The image is useless without it, and slow is not how one should find out.
test -s "$1/forebay_consumer/native/_forebay.so"
# Bytecode is made here, since a read-only root could keep none; by hash, so that the same sources give the same files.
python3 -m compileall -q --invalidation-mode unchecked-hash "$1"
