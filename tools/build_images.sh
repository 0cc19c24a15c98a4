#!/bin/sh
# Builds IMAGE-operator:TAG and IMAGE-consumer:TAG and prints their sizes. From the environment, empty means default:
#   IMAGE, TAG   forebay, dev
#   BASE         the system below: an image with Python. Default: Python's public image, or, where that cannot be pulled,
#                `debian`: an image made here of Debian packages (tests/support/debian_image.py)
#   WHEELS       index: the build fetches dependencies and compiler by itself; host: this machine's pip fetches the former
#                before (tools/fetch_wheels.sh), this machine's rustc makes the wheel, and the build runs without a network.
#                Default: host for `debian`, else index
#   PYTHON       for WHEELS=host: a Python with BASE's minor version and C library
set -eu
cd "$(dirname "$0")/.."

image=${IMAGE:-forebay}
tag=${TAG:-dev}
base=${BASE:-}
wheels=${WHEELS:-}
python=${PYTHON:-python3}
public=$(sed -n 's/^ARG BASE=//p' Dockerfile)

docker info >/dev/null 2>&1 || {
    echo "no Docker engine answers here: start one, or say in DOCKER_HOST where it listens" >&2
    exit 1
}

if [ -z "$base" ]; then
    base=$public
    if ! docker image inspect "$public" >/dev/null 2>&1 && ! timeout 300 docker pull --quiet "$public"; then
        echo "$public cannot be pulled: making the base of Debian packages (BASE=debian)" >&2
        base=debian
    fi
fi
if [ "$base" = debian ]; then
    base=forebay-base:debian
    wheels=${wheels:-host}
    [ -x .venv/bin/python ] || make --silent .venv/installed
    PYTHONPATH=tests .venv/bin/python -m support.debian_image "$base" ca-certificates python3-venv usr-is-merged
fi

# One build at a time: they share build/wheels.
mkdir -p build
exec 9>build/.images.lock
flock 9
rm -rf build/own build/wheels
set -- --build-arg "BASE=$base" \
    --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
    --build-arg "REVISION=$(git rev-parse --verify --quiet HEAD || echo unknown)"
if [ "${wheels:-index}" = host ]; then
    ask='import platform; print("Python", platform.python_version().rpartition(".")[0], *platform.libc_ver())'
    wanted=$(docker run --rm --network none --entrypoint python3 "$base" -c "$ask")
    have=$("$python" -c "$ask")
    [ "$have" = "$wanted" ] || { echo "$base has $wanted, $python is $have: choose another PYTHON" >&2; exit 1; }
    tools/fetch_wheels.sh "$python"
    set -- "$@" --network none
fi
for target in operator consumer; do
    docker build --target "$target" --tag "$image-$target:$tag" "$@" .
done
for target in operator consumer; do
    docker image inspect --format "$image-$target:$tag {{.Size}}" "$image-$target:$tag"
done | awk '{ printf "%s  %.0f MB\n", $1, $2 / 1e6 }'
