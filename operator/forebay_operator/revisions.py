"""Revisions: short names of a part of the spec, by which a written object tells under which spec it was written. Pure.

What must not live here: rendering of objects, judging what a difference means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from forebay_api.fields import write
from forebay_api.v1alpha1 import ScalingSpec

_HEX_DIGITS = 16
"""64 bits: two revisions of one pipeline never meet by chance, and the name stays readable in `kubectl describe`."""


def scaling_revision(scaling: ScalingSpec) -> str:
    """The revision of spec.scaling; equal for equal settings, whoever spelled out which defaults.

    Only what differs from the defaults enters it, so that a release that adds a field to the API, or one that removes
    an unused one, does not look like a person's change.
    """
    chosen = _leave_out(write(ScalingSpec(), {}), write(scaling, {}))
    text = json.dumps(chosen, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX_DIGITS]


def _leave_out(default: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {}
    for key, value in present.items():
        usual = default.get(key)
        if isinstance(value, Mapping) and isinstance(usual, Mapping):
            value = _leave_out(usual, value)
            usual = {}
        if value != usual:
            chosen[key] = value
    return chosen
