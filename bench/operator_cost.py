"""What the operator costs at rest, and how fast it acts: the goals of the operator, measured.

    PYTHONPATH=tests python -m bench.operator_cost [--repeats 5 --idle-seconds 120]

First 20 pipelines on a bare control plane (operator_idle.py), then a kind cluster with servers (operator_cluster.py),
with what tests/support offers. Takes 20 minutes. The figures are stored by a whole run only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from bench.operator_cluster import CAP, HIGH, LOW, PARTITIONS, measure_starts, measure_steps, open_field
from bench.operator_idle import measure_idle
from bench.results import Metric, describe_environment, write_results

PACKAGES = ("aiohttp", "confluent-kafka", "kopf", "kubernetes", "prometheus-client")

PARTS = ("idle", "starts", "steps")


def run(parts: list[str], repeats: int, idle_s: float, patience_s: float) -> None:
    """Measure these parts, print the figures, and store them if they are all."""
    metrics: dict[str, Metric] = {}
    facts: dict[str, object] = {"load_average_before": round(os.getloadavg()[0], 1)}
    if "idle" in parts:
        metrics |= measure_idle(idle_s, patience_s)
        show(metrics)
    if set(parts) & {"starts", "steps"}:
        with open_field() as field:
            facts |= {"kubernetes": field.version(), "nodes": len(field.cluster.nodes)}
            measures: dict[str, Callable[[], dict[str, Metric]]] = {
                "starts": lambda: measure_starts(field, repeats),
                "steps": lambda: measure_steps(field, repeats),
            }
            for part in parts:
                if part in measures:
                    found = measures[part]()
                    show(found)
                    metrics |= found
    facts |= {"load_average_after": round(os.getloadavg()[0], 1)}
    if set(parts) == set(PARTS):
        facts |= {
            "partitions": PARTITIONS,
            "max_rows_per_second": CAP,
            "load_before_step": LOW,
            "load_after_step": HIGH,
        }
        title = "The operator: what it costs, how fast it acts"
        print(write_results("operator", title, describe_environment(PACKAGES, **facts), metrics, "operator_cost"))


def show(metrics: dict[str, Metric]) -> None:
    """For who waits."""
    for name, metric in metrics.items():
        print(f"{name:30s} {metric.to_json()} {metric.judge()}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--idle-seconds", type=float, default=120.0)
    parser.add_argument("--patience", type=float, default=900.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--only", nargs="*", default=[], choices=PARTS, help="some parts, printed and not stored")
    args = parser.parse_args()
    run(args.only or list(PARTS), args.repeats, args.idle_seconds, args.patience)
