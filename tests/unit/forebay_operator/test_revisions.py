"""The revision of spec.scaling."""

from __future__ import annotations

from dataclasses import replace

import pytest
from forebay_api.v1alpha1 import Objective, ScalingMode, ScalingSpec, Timing
from forebay_operator.revisions import scaling_revision


def test_revision_is_the_same_for_equal_settings() -> None:
    spelled_out = ScalingSpec(mode=ScalingMode.ENFORCE, min_replicas=1, timing=Timing(), objective=Objective())

    assert scaling_revision(spelled_out) == scaling_revision(ScalingSpec())
    assert len(scaling_revision(ScalingSpec())) == 16


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"mode": ScalingMode.MANUAL}, id="mode"),
        pytest.param({"replicas": 2}, id="kubectl-scale"),
        pytest.param({"max_replicas": 13}, id="bound"),
        pytest.param({"capacity_per_replica": 500.0}, id="seed"),
        pytest.param({"timing": Timing(settle_s=61)}, id="inner-field"),
    ],
)
def test_revision_changes_with_any_setting(changed: dict[str, object]) -> None:
    other = replace(ScalingSpec(), **changed)  # type: ignore[arg-type]

    assert scaling_revision(other) != scaling_revision(ScalingSpec())
