"""A program to be killed: starts a highly available cluster, tells what it started, and waits."""

from __future__ import annotations

import json
import signal

from forebay_cli.local.ha.cluster import HaCluster


def main() -> None:
    """Start everything, print one line of JSON, wait to be killed."""
    cluster = HaCluster()
    cluster.start()
    segments = [
        (node.place.data / "postmaster.pid").read_text().splitlines()[6].split()[1] for node in cluster.nodes.values()
    ]
    told = {"folder": str(cluster.folder), "segments": segments}
    print(json.dumps(told), flush=True)  # noqa: T201 - its answer
    signal.pause()


if __name__ == "__main__":
    main()
