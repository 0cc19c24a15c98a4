"""What the operator costs at rest, and how fast it acts: the goals of the operator, measured.

    PYTHONPATH=tests python -m bench.operator_cost [--only idle --repeats 5 --idle-seconds 120]

idle: 20 pipelines on a bare control plane (operator_idle.py). starts, steps: on a kind cluster (operator_cluster.py).
Servers and clusters are those of tests/support. A whole run takes 20 minutes; the figures of parts that are not
measured again stay as they are, and the page says when each was taken, and beside how much else.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.operator_cluster import CAP, HIGH, LOW, PARTITIONS, measure_starts, measure_steps, open_field
from bench.operator_idle import measure_idle
from bench.results import RESULTS, Metric, describe_environment, write_results

NAME = "operator"
TITLE = "The operator: what it costs, how fast it acts"
PACKAGES = ("aiohttp", "confluent-kafka", "kopf", "kubernetes", "prometheus-client")
PARTS = ("idle", "starts", "steps")


class Run:
    """One call of the program: what was measured before, replaced part by part."""

    def __init__(self) -> None:
        file = RESULTS / f"{NAME}.json"
        stored = json.loads(file.read_text()) if file.exists() else {"metrics": {}, "environment": {}}
        self.metrics = {name: Metric.from_json(body) for name, body in stored["metrics"].items()}
        self.facts: dict[str, object] = {
            key: value for key, value in stored["environment"].items() if key in ("kubernetes", "nodes")
        }
        self.taken: dict[str, str] = stored["environment"].get("parts", {})

    @contextmanager
    def part(self, name: str) -> Iterator[dict[str, Metric]]:
        """Put the figures into what is yielded; they are stored at once."""
        before, found = os.getloadavg()[0], dict[str, Metric]()
        yield found
        for key, metric in found.items():
            print(f"{key:30s} {metric.to_json()} {metric.judge()}", flush=True)
        self.metrics |= found
        environment = describe_environment(PACKAGES)
        self.taken[name] = (
            f"{environment['date']}, commit {environment['commit']}, load average {before:.1f} before and "
            f"{os.getloadavg()[0]:.1f} after"
        )
        environment |= {"partitions": PARTITIONS, "max_rows_per_second": CAP, "load": f"{LOW:g} → {HIGH:g} records/s"}
        environment |= {**self.facts, "parts": self.taken}
        print(write_results(NAME, TITLE, environment, self.metrics, "operator_cost"), flush=True)


def main(parts: list[str], repeats: int, idle_s: float, patience_s: float) -> None:
    """Measure these parts."""
    run = Run()
    if "idle" in parts:
        with run.part("idle") as found:
            found |= measure_idle(idle_s, patience_s)
    if "starts" in parts or "steps" in parts:
        with open_field() as field:
            run.facts |= {"kubernetes": field.version(), "nodes": len(field.cluster.nodes)}
            if "starts" in parts:
                with run.part("starts") as found:
                    found |= measure_starts(field, repeats)
            if "steps" in parts:
                with run.part("steps") as found:
                    found |= measure_steps(field, repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--idle-seconds", type=float, default=120.0)
    parser.add_argument("--patience", type=float, default=900.0, help="seconds that a quiet machine is waited for")
    parser.add_argument("--only", nargs="*", default=[], choices=PARTS)
    args = parser.parse_args()
    main(args.only or list(PARTS), args.repeats, args.idle_seconds, args.patience)
