"""``headrace replay --into RUN``: sends history through both apps again, on separate topics.

::

    log, or live events ──copy──► RUN.events ──► sequencer ──► RUN.sequences ──┐
    live items, users ────copy──► RUN.items, RUN.users ────────────────────────┤
                                                                               ▼
                                             RUN.recommendations ◄──────── recommender

The command only reads the live topics. After an interruption, the same command continues from its
last checkpoint. A kill may copy some events twice; that changes no window, because each event keeps
its id, or its run and seq.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from rich.progress import Progress

from streams.contract.pseudonyms import open_pseudonyms
from streams.errors import TopicError
from streams.kafka.deployment import load_deployment
from streams.kafka.group_watch import GroupWatch
from streams.kafka.topic_reader import partition_count
from streams.kafka.topics import create_topics
from streams.printable import counted
from streams.recommender.model.artifact_encoder import check_model
from streams.settings.event_table import table_text
from streams.settings.load import KafkaSettings, Settings
from tools.cli import progress, say
from tools.files.refused_rows import RefusedRows
from tools.replay.checkpoint import load_checkpoint
from tools.replay.identity import LogReplay
from tools.replay.publish_log import Pace, Replay, drive
from tools.replay.rebuild.copy_topics import EventCopier, copy_compacted, event_range
from tools.replay.rebuild.manifest import (
    LOG_CHECKPOINT,
    MANIFEST,
    Manifest,
    begin_or_go_on,
    bounds_of,
    run_lock,
    run_settings,
    save_manifest,
)
from tools.replay.rebuild.options import Rebuild
from tools.replay.rebuild.outcome import Outcome
from tools.replay.rebuild.run_workers import catch_up, running_workers, wait_until_idle
from tools.reports.outputs import check_writable


def run_into(rebuild: Rebuild, broker: str | None) -> Outcome:
    """Copy the history, and wait until the run's workers have made all windows and lists.

    Parameters
    ----------
    broker : the broker that the user named; None takes the one of the settings
    """
    began = time.monotonic()
    check_writable("--state-dir", rebuild.folder)
    settings, folder = load_deployment(broker=broker), rebuild.folder
    n_partitions = rebuild.partitions or settings.kafka.partitions
    into = run_settings(settings, rebuild.run, n_partitions)
    wanted = _wanted(rebuild, settings, n_partitions)
    with run_lock(folder):
        manifest = begin_or_go_on(folder, wanted)
        # After the promotion of a run with another partition count, workers and producers use its
        # topics: then this command only adds events.
        is_live = manifest.state == "promoted" and manifest.partitions != manifest.live_partitions
        if not is_live and manifest.state != "copying":
            manifest.state = "copying"
            save_manifest(folder, manifest)
        asyncio.run(_prepare(settings, into, manifest, is_live=is_live))
        n_new, refused = _copy(rebuild, settings, into, manifest, is_live=is_live)
        asyncio.run(_count_events(into, manifest))
        manifest.state = "promoted" if is_live else "caught-up"
        save_manifest(folder, manifest)
    seconds = round(time.monotonic() - began, 3)
    result = {
        "run": rebuild.run, "prefix": into.kafka.topic_prefix, "sent": n_new, **manifest.counts, "partitions": n_partitions,
        "copied": manifest.copied, "seconds": seconds, "manifest": str(folder / MANIFEST),
        **refused.result(),
    }  # fmt: skip
    copied = f"{counted(n_new, 'event')} copied, {manifest.counts['events']} in all"
    line = f"run {rebuild.run}: {copied}, in {seconds:.1f} s"
    refused.say_summary()
    return Outcome(result, [line], refused.exit_code)


def _copy(
    rebuild: Rebuild, settings: Settings, into: Settings, manifest: Manifest, *, is_live: bool
) -> tuple[int, RefusedRows]:
    """Copy the events while the run's workers absorb them.

    Returns
    -------
    tuple How many events were copied, and the rows of a log that were refused.
    """
    refused = RefusedRows()
    with contextlib.ExitStack() as stack:
        workers = [] if is_live else stack.enter_context(running_workers(into, rebuild.folder))
        say(f"copying to {into.kafka.topic_prefix}events")
        if rebuild.log is None:
            n_new = asyncio.run(_copy_topic(settings, into, manifest, rebuild.folder))
        else:
            n_new = _publish_log(rebuild.log, into, rebuild.folder, refused)
        say(f"{counted(n_new, 'event')} copied; waiting for windows and lists")
        with progress() as bar:
            asyncio.run(catch_up(into, workers, _Absorbing(bar).show))
    return n_new, refused


def _wanted(rebuild: Rebuild, settings: Settings, n_partitions: int) -> Manifest:
    """Return the manifest of a run that begins now, with these options and settings."""
    artifact = check_model(settings.recommender).version
    source, n_live = "topic", settings.kafka.partitions
    if rebuild.log is not None:
        # A plain replay with the same options has the same run, so the windows of both are equal to
        # the byte.
        source = rebuild.log.wire_run(open_pseudonyms(settings.kafka))
    else:
        check_counts(asyncio.run(_live_counts(settings.kafka)), n_live, n_partitions)
    return Manifest(
        run=rebuild.run,
        live_prefix=settings.kafka.topic_prefix,
        live_topics=settings.kafka.named_topics(),
        source=source,
        from_ts=rebuild.recorded.start,
        to_ts=rebuild.recorded.end,
        live_partitions=n_live,
        partitions=n_partitions,
        partitioner=settings.kafka.partitioner,
        bounds=bounds_of(settings),
        event_types=table_text(settings.sequencer.types()),
        artifact=artifact,
    )


def _publish_log(log: LogReplay, into: Settings, folder: Path, refused: RefusedRows) -> int:
    """Publish the rest of the log on the run's ``events``; return how many events were sent."""
    wire, path = log.wire_run(open_pseudonyms(into.kafka)), folder / LOG_CHECKPOINT
    replay = Replay(into, wire, path, log.times, load_checkpoint(path, wire, into.kafka.partitioner))
    replay.tally.refused = refused
    drive(log.source, into, replay, Pace(None))
    return replay.tally.sent


def check_counts(counts: Mapping[str, int], n_live: int, n_partitions: int) -> None:
    """Raise :class:`TopicError` where the settings or the run do not fit the live topics.

    Where a topic has grown, some users have moved to other partitions. Then the run needs another
    partition count.

    Parameters
    ----------
    counts : topic to its partition count
    n_live : the partition count of the settings; topics that have not grown have it
    n_partitions : the partition count of the run
    """
    fewest, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[fewest] != n_live:
        raise TopicError(f"{fewest} has {counts[fewest]} partitions, HEADRACE_PARTITIONS is {n_live}; set it so")
    if counts[most] != n_live and n_partitions == n_live:
        raise TopicError(
            f"{most} has grown to {counts[most]} partitions, the run would have {n_live}; give it: --partitions {counts[most]}"
        )


async def _live_counts(live: KafkaSettings) -> dict[str, int]:
    """Return the partition counts of ``events`` and of ``sequences``, where that topic exists."""
    counts = {live.topic("events"): await partition_count(live, live.topic("events"))}
    with contextlib.suppress(TopicError):
        counts[live.topic("sequences")] = await partition_count(live, live.topic("sequences"))
    return counts


async def _prepare(settings: Settings, into: Settings, manifest: Manifest, *, is_live: bool) -> None:
    """Create the run's topics; copy the catalogue, the users, and who is to be forgotten.

    First, wait until no worker of an earlier, killed command is left.
    """
    if not is_live:
        await create_topics(into.kafka)
        await wait_until_idle(into.kafka)
    for topic in ("items", "users"):
        manifest.counts[topic] = await copy_compacted(settings.kafka, into.kafka, topic, is_live=is_live)
    await copy_compacted(settings.kafka, into.kafka, "privacy", is_live=is_live)  # before the run's workers


async def _copy_topic(settings: Settings, into: Settings, manifest: Manifest, folder: Path) -> int:
    begins, ends = await event_range(settings.kafka, manifest.from_ts, manifest.to_ts)
    if not manifest.begins:
        manifest.begins, manifest.copied = begins, dict(begins)
        save_manifest(folder, manifest)
    for partition, first in begins.items():  # the topic may have grown since the run began
        manifest.begins.setdefault(partition, first)
        manifest.copied.setdefault(partition, first)
    before = sum(manifest.copied.values())
    with progress() as bar:
        task = bar.add_task("copying", total=sum(ends.values()) - before, unit="offsets")

        def on_checkpoint() -> None:
            save_manifest(folder, manifest)
            bar.update(task, completed=sum(manifest.copied.values()) - before)

        copier = EventCopier(settings.kafka, into.kafka, manifest.copied, on_checkpoint)
        # The older events of a user whom a grown topic has moved lie in one of the first
        # partitions.
        n_live = manifest.live_partitions
        n_older = await copier.copy({p: end for p, end in ends.items() if p < n_live})
        return n_older + await copier.copy({p: end for p, end in ends.items() if p >= n_live})


async def _count_events(into: Settings, manifest: Manifest) -> None:
    """Count the events on the run's topic, and how many of them were copied twice."""
    watch = GroupWatch(into.kafka, into.kafka.group("sequencer"))
    try:
        offsets = await watch.offsets(into.kafka.topic("events"), range(into.kafka.partitions))
    finally:
        await watch.stop()
    manifest.counts["events"] = sum(place.end for place in offsets.values())
    if manifest.is_from_topic:
        n_wanted = sum(manifest.copied.values()) - sum(manifest.begins.values())
        manifest.counts["repeated"] = manifest.counts["events"] - n_wanted


class _Absorbing:
    """Shows how many copied events the run's workers have absorbed, and how many windows wait."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("waiting for windows and lists", total=None, unit="events")
        self._most = 0

    def show(self, n_events: int, n_windows: int) -> None:
        """Take what is left of both."""
        self._most = max(self._most, n_events)
        left = f"{counted(n_windows, 'window')} without a list"
        self._bar.update(self._task, total=self._most, completed=self._most - n_events, note=left)
