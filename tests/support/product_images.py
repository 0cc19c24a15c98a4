"""The product's images as `make image` makes them, brought into a test's cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from forebay_cli.local.downloads import choose_cache_folder, locked
from support.docker_engine import Engine
from support.kind_cluster import KindCluster

REPOSITORY = Path(__file__).parents[2]
NAMES = ("forebay-operator", "forebay-consumer")
BUILD_S = 1200.0
"""Deadline from cold: a base system, all wheels, a compiler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductImages:
    """Repositories of both, and one tag: changed content, changed tag, so that a kept cluster never runs an old one."""

    operator_name: str
    consumer_name: str
    tag: str


@cache
def build_product_images(engine: Engine) -> ProductImages:
    """Build both and tag them by content; once in a process. Several take turns: who comes second finds all layers."""
    environment = {**os.environ, **engine.environment, "PYTHON": sys.executable}
    with locked(choose_cache_folder(os.environ) / "product-images"):
        done = subprocess.run(
            ["tools/build_images.sh"],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_S,
            check=False,
        )
    assert done.returncode == 0, f"the images cannot be built:\n{(done.stdout + done.stderr)[-4000:]}"
    ids = [engine.docker("image", "inspect", f"{name}:dev", "--format", "{{.Id}}").strip() for name in NAMES]
    tag = "e2e-" + "-".join(each.removeprefix("sha256:")[:8] for each in ids)
    for name in NAMES:
        engine.docker("tag", f"{name}:dev", f"{name}:{tag}")
    return ProductImages(operator_name=NAMES[0], consumer_name=NAMES[1], tag=tag)


def load_product_images(cluster: KindCluster) -> ProductImages:
    """Build, tag by content, copy to the nodes."""
    images = build_product_images(cluster.engine)
    cluster.load(*(f"{name}:{images.tag}" for name in NAMES))
    return images
