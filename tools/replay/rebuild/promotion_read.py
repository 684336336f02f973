"""Reads the live topics and those of a run, and works out what a promotion has to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Identifier, RecordDecoder
from streams.contract.windows import WindowState, decode_window
from streams.errors import InputError, RecordError
from streams.forgetting.read_marks import read_marks
from streams.formats.decoders import open_event_decoder
from streams.kafka.topic_reader import newest_values, read_ranges
from streams.settings.load import Settings
from tools.replay.rebuild.copy_topics import event_range
from tools.replay.rebuild.manifest import Manifest, is_history_gone, run_settings
from tools.replay.rebuild.promotion_plan import (
    NOT_ON_EVENTS,
    Promotion,
    n_losing,
    promoted_vectors,
    promoted_windows,
    renewed_users,
    without_forgotten,
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
    marks = await read_marks(live)
    run_windows, live_windows = without_forgotten(run_windows, live_windows, marks)
    run_vectors, live_vectors = without_forgotten(run_vectors, live_vectors, marks)
    offset_of = await _trigger_offsets(settings, manifest, run_windows, begins)
    windows = promoted_windows(run_windows, live_windows, offset_of, renewed=renewed_users(run_vectors, live_vectors))
    vectors = promoted_vectors(run_vectors, live_vectors, {**live_windows, **windows})
    n_beyond = sum(max(0, end - positions.get(partition, 0)) for partition, end in ends.items())
    return Promotion(
        windows, vectors, homes, dict(manifest.begins) if manifest.is_from_topic else begins, positions, n_beyond,
        n_losing(windows, live_windows), is_history_gone(manifest, begins),
    )  # fmt: skip


async def _trigger_offsets(
    settings: Settings, manifest: Manifest, windows: Mapping[bytes, bytes], begins: Mapping[int, int]
) -> Callable[[bytes, WindowState], int]:
    """Return a function from a run window to the offset of its trigger on the live ``events``.

    If the run has other offsets, the copied part of the live topic is searched for the triggers.
    """
    live = settings.kafka
    if manifest.has_live_offsets:
        return lambda _key, state: state.trigger.offset
    wanted = {key: decode_window(value).trigger.event_id for key, value in windows.items()}
    found: dict[bytes, int] = {}
    triggered = _trigger_reader(settings)
    positions = {p: max(first, manifest.begins.get(p, first)) for p, first in begins.items()}
    async for records in read_ranges(live, live.topic("events"), positions, manifest.copied):
        for record in records:
            key, event_id = triggered(record, wanted)
            if event_id is not None and key not in found and wanted.get(key) == event_id:
                found[key] = record.offset
    return lambda key, _state: found.get(key, NOT_ON_EVENTS)


def _trigger_reader(
    settings: Settings,
) -> Callable[[ConsumedRecord, Mapping[bytes, str]], tuple[bytes, str | None]]:
    """Return a function from a record of ``events`` to its user's key and its event id.

    The event id is None for a record that is not wanted or cannot be read.
    """
    plain = RecordDecoder(_EventName)
    # its decode() has no clock
    foreign = open_event_decoder(settings.kafka, 0, settings.sequencer.types())

    def read(record: ConsumedRecord, wanted: Mapping[bytes, str]) -> tuple[bytes, str | None]:
        key = record.key or b""
        if foreign.keys_are_ids and key not in wanted:
            return key, None
        try:
            if foreign.keys_are_ids:
                return key, plain.decode(record.value).event_id
            event = foreign.decode(record.value)
        except RecordError:
            return key, None
        return event.user_id.encode(), event.event_id

    return read
