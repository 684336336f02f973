"""What the broker does in :mod:`tests.property.delivery_model`.

It keeps logs, fences old epochs and old generations, and compacts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.contract.kafka_records import ConsumedRecord

FENCE_KEY: Final = b"fence"


class Fenced(Exception):
    """The broker refused a write of an older epoch."""


class Change(NamedTuple):
    """One changelog record."""

    offset: int
    key: bytes
    value: bytes | None


@dataclass(slots=True)
class PartitionLog:
    """The broker's state of one partition: events, changelog, rejects, who may write and commit."""

    events: list[ConsumedRecord] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    end: int = 0
    rejected: set[int] = field(default_factory=set)
    covered: set[int] = field(default_factory=set)  # event offsets whose batch was delivered
    epoch: int = 0  # newest that the transaction coordinator gave out
    fenced: int = 0  # newest that has written to the changelog: older ones are refused
    generation: int = 0
    committed: int = 0

    def write(self, epoch: int, values: list[tuple[bytes, bytes | None]], *, checked: bool = True) -> int:
        """Append a produce batch to the changelog and return its base offset.

        Raise :class:`Fenced` where the broker refuses the worker.
        """
        if checked and epoch < self.fenced:
            raise Fenced
        if values:
            self.fenced = max(self.fenced, epoch)
        base = self.end
        self.changes.extend(Change(base + i, key, value) for i, (key, value) in enumerate(values))
        self.end += len(values)
        return base

    def commit(self, generation: int, offset: int) -> None:
        """Commit, unless the group has moved on."""
        if generation == self.generation:
            self.committed = offset

    def latest(self) -> dict[bytes, bytes]:
        """Return the last value of each key."""
        return replayed({}, self.changes)

    def compact(self) -> None:
        """Keep the last change of each key; drop old tombstones; the newest record always stays."""
        last = {change.key: change.offset for change in self.changes}
        self.changes = [
            change
            for change in self.changes
            if change.offset == self.end - 1 or (change.offset == last[change.key] and change.value is not None)
        ]


def replayed(values: Mapping[bytes, bytes], changes: list[Change]) -> dict[bytes, bytes]:
    """Return what ``values`` become when changes are applied in order."""
    result = dict(values)
    for change in changes:
        if change.value is None:
            result.pop(change.key, None)
        else:
            result[change.key] = change.value
    return result
