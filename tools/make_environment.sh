#!/bin/sh
# Runs inside the image build: FOLDER becomes a virtual environment with exactly the packages of LOCK, and without pip.
# usage: make_environment.sh FOLDER LOCK
set -eu

python3 -m venv --without-pip "$1"
/build/bin/pip --python "$1/bin/python" install --no-compile --require-hashes -r "$2"
# Tests of the dependencies, and their programs: nobody calls them here.
find "$1/lib" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
find "$1/bin" -type f ! -name 'python*' -delete
rm -f "$1/bin/activate"* "$1/bin/Activate"*
# Bytecode, since a read-only root could keep none: programs start in half the time. The Kubernetes client's generated
# classes, three quarters of the environment, are left as they are: Python imports them one by one, and only on demand.
python3 -m compileall -q --invalidation-mode unchecked-hash -x 'kubernetes/(aio/)?client/(api|models)/' "$1/lib"
