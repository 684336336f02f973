"""A Faust table that is written and recovered in record batches."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import faust
from faust.types import TP

from streams.contract.log_coordinates import about_all
from streams.state.damage import PassedOver, describe

log = logging.getLogger(__name__)
ROCKSDB: Final = "rocksdb"


class BatchTable(faust.Table):
    """A table of raw bytes by raw bytes key, one value per key and partition.

    To Faust it is a ``faust.Table``. Only :meth:`read` reads values, in the partition of the
    caller: when producers use two partitioners, the same key in two partitions has two values. New
    values are first *staged*. They enter the store when the broker has them in the changelog, so
    the store never holds a window that a recovery after a crash would miss.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._staged: defaultdict[int, dict[bytes, bytes | None]] = defaultdict(dict)
        self._memory: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
        self._offsets: dict[int, int] = {}  # of the store in memory: where a recovery begins

    def read(self, partition: int, key: bytes) -> bytes | None:
        """Return the newest value of a key, staged or stored; None if it is to be removed."""
        return self.reader(partition)(key)

    def reader(self, partition: int) -> Callable[[bytes], bytes | None]:
        """Return :meth:`read` of a partition, for many keys at once, before anything is awaited."""
        staged = self._staged[partition]
        stored = self.data._db_for_partition(partition).get if self.is_rocksdb else self._memory[partition].get

        def read(key: bytes) -> bytes | None:
            return staged[key] if key in staged else stored(key)

        return read

    def keys_in(self, partition: int) -> Iterator[bytes]:
        """Yield the keys that a partition has stored, with or without those changed meanwhile."""
        if self.is_rocksdb:
            yield from self.data._visible_keys(self.data._db_for_partition(partition))
        else:
            yield from list(self._memory[partition])

    def is_open(self, partition: int) -> bool:
        """Whether the partition's store can be asked without opening files."""
        return not self.is_rocksdb or partition in self.data._dbs

    def stage(self, partition: int, values: Mapping[bytes, bytes | None]) -> None:
        """Make values, or removals (None), visible to :meth:`read` before they are delivered."""
        self._staged[partition].update(values)

    def store(self, partition: int, values: Mapping[bytes, bytes | None], offset: int | None) -> None:
        """Put delivered values into the store; None deletes a key. Repeat-safe.

        ``offset`` is that of the last changelog record.
        """
        staged = self._staged[partition]
        for key, value in values.items():
            # else a later batch has staged a newer value
            if key in staged and staged[key] is value:
                del staged[key]
        if self.is_rocksdb:
            self._store_rocksdb(partition, values, offset)
        else:
            self._store_memory(partition, values)
            if offset is not None:
                self._offsets[partition] = offset

    def scrub(self, partition: int, keys: Collection[bytes]) -> None:
        """Rewrite the files that hold removed keys, so that their bytes leave the disk.

        For any thread: it takes as long as the disk needs for the store. A store in memory has
        nothing to rewrite.
        """
        if self.is_rocksdb and keys:
            from streams.state.scrubbing import scrub

            scrub(self.data._db_for_partition(partition), keys)

    def note_foreign(self, partition: int, records: Sequence[PassedOver]) -> None:
        """Log and count changelog records that recovery skipped."""
        topic = self.changelog_topic_name
        extra = about_all(topic, partition, [each.offset for each in records])
        log.error("%s-%d: %s; another program writes to this topic", topic, partition, describe(records), extra=extra)
        metrics = self.app.health.metrics
        if metrics is not None:
            metrics.add("keys_foreign", len(records))

    def discard_staged(self, partitions: Iterable[int]) -> None:
        """Drop undelivered values of partitions that another worker owns now."""
        for partition in partitions:
            self._staged.pop(partition, None)

    def persisted_offset(self, tp: TP) -> int | None:
        """Return the changelog offset where a partition's recovery starts; None: the beginning."""
        if self.is_rocksdb:
            return super().persisted_offset(tp)  # type: ignore[no-any-return]
        return self._offsets.get(tp.partition)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Drop the partitions that another worker owns now; RocksDB keeps them on disk."""
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        lost = {tp.partition for tp in revoked if tp.topic == self.changelog_topic_name}
        if lost and not self.is_rocksdb:
            self._drop_memory(lost)

    @property
    def is_rocksdb(self) -> bool:
        """Whether the store lies on disk; else it lies in memory."""
        return bool(self.data.url.scheme == ROCKSDB)

    def _store_memory(self, partition: int, values: Mapping[bytes, bytes | None]) -> None:
        stored = self._memory[partition]
        for key, value in values.items():
            if value is None:
                stored.pop(key, None)
            else:
                stored[key] = value

    def _drop_memory(self, partitions: set[int]) -> None:
        for partition in partitions:
            self._memory.pop(partition, None)
            self._offsets.pop(partition, None)

    def _store_rocksdb(self, partition: int, values: Mapping[bytes, bytes | None], offset: int | None) -> None:
        import rocksdict

        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in values.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        if offset is not None:
            batch.put(self.data.offset_key, str(offset).encode())
        self.data._db_for_partition(partition).write(batch)
