"""What a person reads after `kubectl create` of a bad resource: refused at once, the field named, the remedy said.

A part of the tables: the whole of them is judged by a real API server in tests/integration.
"""

from __future__ import annotations

import json

import pytest
from support.consumer_resources import CONSUMERS_BAD, CONSUMERS_GOOD
from support.kind_cluster import ClusterCommandFailed, KindCluster
from support.product import Product
from support.resources import BAD, GOOD, Bad, Good, build_resource

REFUSED = [bad for bad in (*BAD, *CONSUMERS_BAD) if not bad.parser_only][::5]
TAKEN = [*GOOD, *CONSUMERS_GOOD][::5]


@pytest.mark.parametrize("bad", REFUSED, ids=[bad.id for bad in REFUSED])
def test_bad_resource_is_refused_with_the_field_named(cluster: KindCluster, product: Product, bad: Bad) -> None:
    del product  # the definition came with its release

    with pytest.raises(ClusterCommandFailed) as refusal:
        _apply(cluster, bad.changes)

    said = str(refusal.value)
    field = bad.path.rpartition(".")[2].partition("[")[0]
    assert field in said, said
    assert bad.says in said, said


@pytest.mark.parametrize("good", TAKEN, ids=[good.id for good in TAKEN])
def test_good_resource_is_taken(cluster: KindCluster, product: Product, good: Good) -> None:
    del product

    _apply(cluster, good.changes)


def _apply(cluster: KindCluster, changes: str) -> None:
    resource = build_resource(changes)
    resource["metadata"]["namespace"] = "default"  # which exists in every cluster
    cluster.kubectl("create", "--dry-run=server", "--filename", "-", stdin=json.dumps(resource))
