"""Reads the live topics and those of a run, and works out what a promotion has to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from streams.contract.records import Identifier, RecordDecoder
from streams.contract.windows import WindowState, decode_window
from streams.errors import InputError, RecordError
from streams.kafka.topic_reader import newest_values, read_ranges
from streams.settings.load import KafkaSettings, Settings
from tools.rebuild.copy_topics import event_range
from tools.rebuild.manifest import Manifest, is_history_gone, run_settings
from tools.rebuild.promotion_plan import (
    NOT_ON_EVENTS,
    Promotion,
    n_losing,
    promoted_vectors,
    promoted_windows,
    renewed_users,
)


class _EventName(msgspec.Struct):
    """The part of an event that finds a trigger, of whatever type the event is."""

    event_id: Identifier


async def read_promotion(settings: Settings, manifest: Manifest) -> Promotion:
    """Read both sides and return what to write.

    Raises
    ------
    InputError
        When live events behind the copy are deleted already: windows could not be brought up to
        date.
    """
    live, into = settings.kafka, run_settings(settings, manifest.run, manifest.partitions).kafka
    begins, ends = await event_range(live, None, None)
    positions = dict(manifest.copied) if manifest.is_from_topic else begins
    for partition, first in begins.items():
        if positions.get(partition, 0) < first:
            raise InputError(
                f"--promote {manifest.run}: events-{partition} begins at offset {first}, the run ends at {positions.get(partition, 0)}: "
                "retention has deleted the events in between; begin another run"
            )
    homes: dict[bytes, int] = {}
    live_windows = await newest_values(live, "sequences", homes)
    run_windows = await newest_values(into, "sequences", homes)
    live_vectors, run_vectors = await newest_values(live, "user-vectors"), await newest_values(into, "user-vectors")
    offset_of = await _trigger_offsets(live, manifest, run_windows, begins)
    windows = promoted_windows(run_windows, live_windows, offset_of, renewed=renewed_users(run_vectors, live_vectors))
    vectors = promoted_vectors(run_vectors, live_vectors, {**live_windows, **windows})
    n_beyond = sum(max(0, end - positions.get(partition, 0)) for partition, end in ends.items())
    return Promotion(
        windows, vectors, homes, dict(manifest.begins) if manifest.is_from_topic else begins, positions, n_beyond,
        n_losing(windows, live_windows), is_history_gone(manifest, begins),
    )  # fmt: skip


async def _trigger_offsets(
    live: KafkaSettings, manifest: Manifest, windows: Mapping[bytes, bytes], begins: Mapping[int, int]
) -> Callable[[bytes, WindowState], int]:
    """Return a function from a run window to the offset of its trigger on the live ``events``.

    If the run has other offsets, the copied part of the live topic is searched for the triggers.
    """
    if manifest.has_live_offsets:
        return lambda _key, state: state.trigger.offset
    wanted = {key: decode_window(value).trigger.event_id for key, value in windows.items()}
    found: dict[bytes, int] = {}
    decoder = RecordDecoder(_EventName)
    positions = {p: max(first, manifest.begins.get(p, first)) for p, first in begins.items()}
    async for records in read_ranges(live, live.topic("events"), positions, manifest.copied):
        for record in records:
            if record.key not in wanted or record.key in found:
                continue
            try:
                event = decoder.decode(record.value)
            except RecordError:
                continue
            if event.event_id == wanted[record.key]:
                found[record.key] = record.offset
    return lambda key, _state: found.get(key, NOT_ON_EVENTS)
