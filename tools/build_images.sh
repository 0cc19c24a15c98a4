#!/bin/sh
# Builds IMAGE-operator:TAG and IMAGE-consumer:TAG and prints their sizes. From the environment, empty means default:
#   IMAGE, TAG   forebay, dev
#   BASE         the system below: an image with Python. Default: Python's public image, or, where that cannot be pulled,
#                `debian`: two images made here of Debian packages (tools/debian_base.sh), one of them with a compiler
#   BUILD_BASE   the system to build in; default: BASE
#   WHEELS       index: the build fetches the dependencies by itself; host: this machine's pip fetches them before
#                (tools/fetch_wheels.sh) and the build runs without a network. Default: host for `debian`, else index
#   PYTHON       for WHEELS=host: a Python of the same minor version as BASE's
set -eu
cd "$(dirname "$0")/.."

image=${IMAGE:-forebay}
tag=${TAG:-dev}
base=${BASE:-}
build_base=${BUILD_BASE:-}
wheels=${WHEELS:-}
python=${PYTHON:-python3}
public=$(sed -n 's/^ARG BASE=//p' Dockerfile)

if [ -z "$base" ]; then
    base=$public
    if ! docker image inspect "$public" >/dev/null 2>&1 && ! timeout 300 docker pull --quiet "$public"; then
        echo "$public cannot be pulled: making the base of Debian packages (BASE=debian)" >&2
        base=debian
    fi
fi
if [ "$base" = debian ]; then
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    base=forebay-base:$suite-python
    build_base=forebay-base:$suite-python-rust
    wheels=${wheels:-host}
    tools/debian_base.sh "$base" ca-certificates python3
    tools/debian_base.sh "$build_base" gcc libc6-dev python3-venv rustc
fi

# One build at a time: they share build/wheels.
mkdir -p build
exec 9>build/.images.lock
flock 9
set -- --build-arg "BASE=$base" --build-arg "BUILD_BASE=${build_base:-$base}" \
    --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
    --build-arg "REVISION=$(git rev-parse --verify --quiet HEAD || echo unknown)"
if [ "${wheels:-index}" = host ]; then
    ask='import sys; print("%d.%d" % sys.version_info[:2])'
    wanted=$(docker run --rm --network none --entrypoint python3 "$base" -c "$ask")
    have=$("$python" -c "$ask")
    [ "$have" = "$wanted" ] || { echo "$base has Python $wanted, $python is $have: give PYTHON=python$wanted" >&2; exit 1; }
    tools/fetch_wheels.sh "$python"
    set -- "$@" --network none
else
    rm -rf build/wheels
fi
for target in operator consumer; do
    docker build --target "$target" --tag "$image-$target:$tag" "$@" .
done
for target in operator consumer; do
    docker image inspect --format "$image-$target:$tag {{.Size}}" "$image-$target:$tag"
done | awk '{ printf "%s  %.0f MB\n", $1, $2 / 1e6 }'
