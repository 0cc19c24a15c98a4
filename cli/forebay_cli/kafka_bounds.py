"""What Kafka holds of one partition."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """log_start: first offset still there. log_end: first offset not yet produced."""

    log_start: int
    log_end: int
