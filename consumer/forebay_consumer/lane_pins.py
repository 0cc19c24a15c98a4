"""Which lane has which partition. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class LanePins:
    """A partition stays with its lane until it is revoked, and goes back to it when there is room.

    Back to the same lane, because the transaction under way there may hold its position: another lane's claim would
    wait for that, or fence it.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._pins: dict[int, int] = {}
        self._former: dict[int, int] = {}

    def lane_of(self, partition: int) -> int | None:
        """The number of its lane from 0; None: not assigned."""
        return self._pins.get(partition)

    def assign(self, partitions: Iterable[int]) -> None:
        """Deal partitions out: to their former lane while it has not more than its share, else to the emptiest."""
        new = sorted(set(partitions))
        for partition in new:
            self._pins.pop(partition, None)
        share = -(-(len(self._pins) + len(new)) // self._lanes)
        counts = Counter(self._pins.values())
        homeless = []
        for partition in new:
            lane = self._former.get(partition)
            if lane is None or counts[lane] >= share:
                homeless.append(partition)
            else:
                self._pins[partition] = lane
                counts[lane] += 1
        for partition in homeless:
            lane = min(range(self._lanes), key=lambda each: (counts[each], each))
            self._pins[partition] = lane
            counts[lane] += 1
        self._former.update(self._pins)

    def revoke(self, partitions: Iterable[int]) -> None:
        """They are no lane's any more."""
        for partition in partitions:
            self._pins.pop(partition, None)
