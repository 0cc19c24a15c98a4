"""What a Prometheus histogram tells of a quantile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf


def read_buckets(samples: Mapping[str, float], name: str) -> dict[float, float]:
    """Upper bound → how many were at most so large, of a histogram without labels; inf is the last bound.

    samples: as in the exposition text, `name_bucket{le="0.5"}` → count.
    """
    found = {key: re.fullmatch(rf'{re.escape(name)}_bucket\{{le="([^"]+)"\}}', key) for key in samples}
    bounds = {key: float(match[1]) for key, match in found.items() if match}
    return {bound: samples[key] for key, bound in sorted(bounds.items(), key=lambda item: item[1])}


def take_quantile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float | None:
    """The quantile of what was observed between two readings, by Prometheus' own rule: even within a bucket.

    None: nothing was observed. Above the last finite bound it is that bound, so the true value is larger.
    """
    counts = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    total = max(counts.values(), default=0.0)
    if total <= 0:
        return None
    low = seen = 0.0
    for bound, count in counts.items():
        if count >= share * total:
            return low if bound == inf else low + (bound - low) * (share * total - seen) / (count - seen)
        low, seen = bound, count
    return low
