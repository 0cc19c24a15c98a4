"""Removes a kind cluster when its tests have been killed: run as `python -m support.cluster_guard NAME` by them.

It is a child of the tests, and their reaper, which outlives them, asks it to end; it holds the engine as long.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from support.docker_engine import DockerFailed, Engine, open_engine

LABEL = "io.x-k8s.kind.cluster"
"""kind's own mark on the containers of a cluster."""

LATE_S = 2.0
"""Where tests were killed while their cluster was being made, the engine may still be at a container asked for."""


def isolation_rules(engine: Engine, name: str) -> Sequence[Sequence[str]]:
    """Refuse whatever leaves the cluster's network for anywhere else. Raises DockerFailed when there is no network.

    By the bridge and not by addresses: what goes from node to node may pass the same filter, with any pod's address.
    Connections by a reset: the kernel sends few ICMP answers a second, and who gets none waits.
    """
    bridge = f"br-{engine.docker('network', 'inspect', name, '--format', '{{.Id}}')[:12]}"
    leaving = ["-i", bridge, "!", "-o", bridge]
    return [*leaving, "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"], [*leaving, "-j", "REJECT"]


def remove_cluster(engine: Engine, name: str) -> None:
    """Remove the cluster's containers, its network, and the rules that isolated it; what is not there is fine.

    Not by `kind delete`: that would also edit the user's kubeconfig, and the reaper has only seconds.
    """
    nodes = engine.docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={name}").split()
    if nodes:
        engine.docker("rm", "--force", "--volumes", *nodes)
    with suppress(DockerFailed):
        rules = isolation_rules(engine, name)
        engine.docker("network", "rm", name)
        for rule in rules:
            with suppress(FileNotFoundError):
                subprocess.run(["iptables", "-D", "DOCKER-USER", *rule], capture_output=True, check=False)


def main() -> None:
    """Wait to be asked to end, then remove the cluster named by the first argument."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    engine = open_engine()
    signal.sigwait([signal.SIGTERM])
    remove_cluster(engine, sys.argv[1])
    time.sleep(LATE_S)
    remove_cluster(engine, sys.argv[1])


if __name__ == "__main__":
    main()
