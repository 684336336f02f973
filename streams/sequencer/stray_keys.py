"""Finds users whose window lies on a partition that takes none of their events any more.

Producers with another partitioner put the events there, before the sequencer compared partitions or
while its setting ``partitioner`` was another. Such a window never changes again, but the
recommender has made lists of it. The remedy depends on the producers, so the sequencer only logs
it: with a wrong ``partitioner``, nearly all windows would look so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from streams.kafka.publisher import partition_of
from streams.sequencer.absorb_batch import OTHER
from streams.state.damage import name_in_logs

#: Keys between two pauses, in which events go on. Their hashes take 3 ms in Python.
CHUNK_KEYS: Final = 500
PAUSE_S: Final = 0.005


class Keyed(Protocol):
    """The part of :class:`~streams.state.table.BatchTable` that this module needs."""

    def keys_in(self, partition: int) -> Iterator[bytes]:
        """Yield the keys that a partition has stored."""


@dataclass
class Strays:
    """How many keys lie on a wrong partition, and the first of them with its two partitions."""

    n_strays: int = 0
    n_keys: int = 0
    example: bytes = b""
    partition: int = -1
    due: int = -1

    def describe(self, partitioner: str) -> str:
        """Return their number, an example, and the remedy."""
        return (
            f"{self.n_strays} of {self.n_keys} users have a window on another partition than partitioner={partitioner} gives, such as "
            f"{name_in_logs(self.example)} on {self.partition}, must be on {self.due}: no event of theirs is taken there. Set "
            f"HEADRACE_PARTITIONER={OTHER[partitioner]} where all producers use that; else make their windows whole: headrace replay "
            "--into RUN --from-topic --partitions N, with another N, then --promote RUN"
        )


async def find_strays(table: Keyed, partitions: Iterable[int], n_partitions: int, partitioner: str) -> Strays:
    """Compare each stored key's partition with the partitioner's; let the event loop go on."""
    found = Strays()
    for partition in partitions:
        keys = table.keys_in(partition)
        while chunk := list(islice(keys, CHUNK_KEYS)):
            found.n_keys += len(chunk)
            for key in chunk:
                due = partition_of(key, n_partitions, partitioner)
                if due == partition:
                    continue
                if not found.n_strays:
                    found.example, found.partition, found.due = key, partition, due
                found.n_strays += 1
            await asyncio.sleep(PAUSE_S)
    return found
