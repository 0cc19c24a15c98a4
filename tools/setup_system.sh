#!/bin/sh
# Installs the system packages that the demo needs: PostgreSQL's server, Java and Maven (for Apache Kafka), a C and a Rust
# compiler, Python's venv. With the argument `ha`, also etcd, HAProxy and what Patroni imports; with `tests`, these and,
# for Kubernetes, a container engine and what assembles images. Looks for each by what it brings, so that nothing is done
# where all is present.
# As root on Debian or Ubuntu it installs; otherwise it says what to install and exits with 1.
set -eu

has_postgres() {
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && return 0
    done
    command -v initdb >/dev/null && command -v postgres >/dev/null
}

has_java() {
    # Kafka 4 needs 17; the first line reads: openjdk version "17.0.15" 2025-04-15
    major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ]
}

choose_java_package() {
    if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
        echo openjdk-17-jre-headless
    else
        echo default-jdk-headless
    fi
}

has_container_engine() {
    command -v dockerd >/dev/null || docker info >/dev/null 2>&1
}

has_patronis_imports() {
    # Debian's Python, not the newest in PATH: its packages are what Patroni gets.
    /usr/bin/python3 -c 'import click, dateutil, dns, etcd, psutil, psycopg2, urllib3, yaml' >/dev/null 2>&1
}

# Debian keeps HAProxy in a folder that an ordinary user's PATH may lack.
PATH=$PATH:/usr/sbin
missing=""
has_postgres || missing="$missing postgresql"
has_java || missing="$missing $(choose_java_package)"
command -v mvn >/dev/null || missing="$missing maven"
command -v rustc >/dev/null || missing="$missing rustc"
command -v gcc >/dev/null || missing="$missing gcc libc6-dev"
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$missing python3-venv"
if [ "${1:-}" = ha ] || [ "${1:-}" = tests ]; then
    command -v etcd >/dev/null || missing="$missing etcd-server"
    command -v haproxy >/dev/null || missing="$missing haproxy"
    has_patronis_imports || for name in click dateutil etcd psutil psycopg2 urllib3 yaml; do
        missing="$missing python3-$name"
    done
fi
if [ "${1:-}" = tests ]; then
    has_container_engine || missing="$missing docker.io containerd runc"
    command -v ip >/dev/null || missing="$missing iproute2"
    command -v iptables >/dev/null || missing="$missing iptables"
    command -v mmdebstrap >/dev/null || missing="$missing mmdebstrap"
    command -v zstd >/dev/null || missing="$missing zstd"
fi

[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "These system packages are missing (names as in Debian and Ubuntu); install them, then run this again:" >&2
    echo "    apt-get install$missing" >&2
    exit 1
fi

# The package would create and start a server of its own, which nobody here asked for.
cluster_settings=/etc/postgresql-common/createcluster.conf
if [ ! -e "$cluster_settings" ]; then
    mkdir -p "$(dirname "$cluster_settings")"
    echo "create_main_cluster = false" >"$cluster_settings"
fi

# Nor should etcd, HAProxy and the container engine be started by their packages: Debian's way to say so.
start_policy=/usr/sbin/policy-rc.d
if [ ! -e "$start_policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$start_policy"
    chmod 755 "$start_policy"
    trap 'rm -f "$start_policy"' EXIT
fi

echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word a package
apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold $missing
