"""The fixtures of Forebay in the cluster: installed once a run, pipelines made by the tests and removed after each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import pytest
from forebay_cli.local.downloads import locked
from support.cluster_servers import Servers
from support.kind_cluster import KindCluster
from support.product import PipelineOnCluster, Product, make_pipeline
from support.product_images import ProductImages, load_product_images

AWAY_S = 300.0
"""Longest time without an operator: as long as a test may take, so that one that fails does not take others with it."""


class NewPipeline(Protocol):
    """Makes pipelines that are removed when the test is over."""

    def __call__(self, *, partitions: int = 6, **scaling: Any) -> PipelineOnCluster:
        """One with an empty topic and table, not applied yet. scaling: of its spec."""


@pytest.fixture(scope="session")
def installed_product(cluster: KindCluster, run_files: Path) -> Product:
    """The release; take `product` instead."""
    with locked(run_files / "product"):
        done = run_files / "product"
        if done.exists():  # by another process; a test there may be changing it at this moment
            return Product(cluster=cluster, images=ProductImages(**json.loads(done.read_text())))
        product = Product(cluster=cluster, images=load_product_images(cluster))
        product.install()
        done.write_text(json.dumps(asdict(product.images)))
        return product


@pytest.fixture
def product(installed_product: Product) -> Product:
    """The operator's release with a leader. A test that stops or removes it puts it back, or fails first."""
    installed_product.wait_leader(deadline_s=AWAY_S)
    return installed_product


@pytest.fixture
def new_pipeline(cluster: KindCluster, servers: Servers, product: Product, tmp_path: Path) -> Iterator[NewPipeline]:
    """A maker of pipelines; what it made is deleted in the end."""
    made: list[PipelineOnCluster] = []

    def make(*, partitions: int = 6, **scaling: Any) -> PipelineOnCluster:
        made.append(make_pipeline(cluster, servers, tmp_path, partitions=partitions, **scaling))
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.remove()
