"""``headrace replay --promote RUN``: makes the state of a run the live one.

With the live partition count the run is promoted in place. The live workers are stopped, producers
go on, and ``--into`` has copied all events that the live workers had read::

    1 rewind    the sequencer group's offsets back to the end of the copy, if they are further
    2 windows   the run's windows onto ``sequences``
    3 vectors   the run's vectors onto ``user-vectors``
    4 offsets   the sequencer group's offsets forward to the run's first event, if before it

Before the promotion reads the live windows it fences off workers that only seem to be dead, as a
new owner of their partitions would. So the windows cannot change afterwards.

The order makes a crash between any two steps harmless. At each moment the offsets lie at or before
the last event of each window, and an event that is read again is a repeat. The live sequencer goes
on where it was: the events that the run has copied since are repeats too, except malformed events,
which it has to reject. The live recommender makes lists of all windows that were written: its own
offset is never beyond them, and stays as it is.

With another partition count the topics cannot be replaced; two settings then make the run's topics
the live ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.errors import InputError, RunError
from streams.kafka.deployment import load_deployment
from streams.kafka.group_watch import committed_offsets
from streams.kafka.topics import create_topics
from streams.settings.load import KafkaSettings, Settings
from tools.cli import say
from tools.replay.rebuild.manifest import (
    Manifest,
    load_manifest,
    run_lock,
    save_manifest,
)
from tools.replay.rebuild.outcome import Outcome
from tools.replay.rebuild.promote_elsewhere import promote_elsewhere
from tools.replay.rebuild.promotion_plan import (
    Promotion,
)
from tools.replay.rebuild.promotion_read import read_promotion
from tools.replay.rebuild.promotion_write import fence_off, write_promotion
from tools.replay.rebuild.run_workers import busy_groups


def run_promote(folder: Path, broker: str | None, *, is_confirmed: bool) -> Outcome:
    """Make the state of the run in a folder the live one.

    Without ``is_confirmed`` only report what would be written.
    """
    load_manifest(folder)  # a run that does not exist gets no folder
    settings = load_deployment(broker=broker)
    with run_lock(folder):
        manifest = load_manifest(folder)
        check_deployment(manifest, settings.kafka)
        check_live(manifest, settings.kafka)
        if manifest.state == "copying":
            raise InputError(
                f"--promote {manifest.run}: the run is not finished; finish it with the --into command that began it"
            )
        if manifest.partitions == settings.kafka.partitions:
            return _promote_in_place(settings, manifest, folder, is_confirmed=is_confirmed)
        return promote_elsewhere(settings, manifest, folder)


def check_deployment(manifest: Manifest, live: KafkaSettings) -> None:
    """Raise :class:`InputError` when the run's live topics are not those of the settings."""
    if manifest.live_prefix != live.topic_prefix:
        raise InputError(
            f"--promote {manifest.run}: it rebuilds topic prefix {manifest.live_prefix!r}, HEADRACE_TOPIC_PREFIX is "
            f"{live.topic_prefix!r}; set it to that of the run"
        )
    if manifest.live_topics != live.named_topics():
        raise InputError(
            f"--promote {manifest.run}: the run was made of topics that were named {manifest.live_topics}, the settings name "
            f"{live.named_topics()}; name them as they were"
        )


def check_live(manifest: Manifest, live: KafkaSettings) -> None:
    """Raise :class:`InputError` when partition count or partitioner differ from the run's.

    The run's users would then be on other partitions than the live ones.
    """
    if live.partitions != manifest.live_partitions:
        raise InputError(
            f"--promote {manifest.run}: the live topics have {manifest.live_partitions} partitions, HEADRACE_PARTITIONS is "
            f"{live.partitions}; set it to {manifest.live_partitions} for this command"
        )
    if live.partitioner != manifest.partitioner:
        raise InputError(
            f"--promote {manifest.run}: the run was made with partitioner={manifest.partitioner}, HEADRACE_PARTITIONER is "
            f"{live.partitioner}; set it to {manifest.partitioner}, or begin another run"
        )


def _promote_in_place(settings: Settings, manifest: Manifest, folder: Path, *, is_confirmed: bool) -> Outcome:
    began = time.monotonic()
    if manifest.state == "promoted":
        return Outcome({"run": manifest.run, "windows": 0, "vectors": 0}, [f"run {manifest.run} is promoted already"])
    asyncio.run(create_topics(settings.kafka))
    _refuse_while_busy(settings.kafka)
    group, events = settings.kafka.group("sequencer"), settings.kafka.topic("events")
    check_copied(manifest, asyncio.run(committed_offsets(settings.kafka, group, events)))
    if is_confirmed:
        asyncio.run(fence_off(settings.kafka))
    plan = asyncio.run(read_promotion(settings, manifest))
    told = plan.as_text()
    if not is_confirmed:
        preview = f"run {manifest.run}: a promotion would set the sequencer's offsets and write {told}; nothing is written: add --yes"
        return Outcome(as_result(manifest, plan) | {"promoted": False}, [preview])
    if manifest.state != "promoting":
        manifest.state, manifest.promotions = "promoting", manifest.promotions + 1
    manifest.steps = []
    save_manifest(folder, manifest)
    resumed = asyncio.run(write_promotion(settings.kafka, plan, _step_saver(manifest, folder)))
    manifest.state = "promoted"
    save_manifest(folder, manifest)
    ended = {"promoted": True, "positions": resumed, "seconds": round(time.monotonic() - began, 3)}
    result = as_result(manifest, plan) | ended
    return Outcome(result, [f"run {manifest.run} promoted: {told}; start the workers now: headrace up"])


def as_result(manifest: Manifest, plan: Promotion) -> dict[str, object]:
    """Return what a promotion writes, for ``--json``."""
    return {
        "run": manifest.run, "windows": len(plan.windows), "emptied": plan.n_emptied, "vectors": len(plan.vectors),
        "losing": plan.n_losing, "history_gone": plan.is_history_gone, "beyond": plan.n_beyond,
    }  # fmt: skip


def check_copied(manifest: Manifest, committed: Mapping[int, int]) -> None:
    """Raise :class:`RunError` when live windows hold events that the run could have copied.

    Such windows would go backwards for a while. A run of a log, or of a range with an end, holds
    other events on purpose.

    Parameters
    ----------
    committed : partition to the offset up to which the live sequencer has read
    """
    if not manifest.is_from_topic or manifest.to_ts is not None:
        return
    n_missing = sum(max(0, at - manifest.copied.get(p, 0)) for p, at in committed.items())
    if n_missing:
        raise RunError(
            f"--promote {manifest.run}: the live sequencer has read {n_missing} events that the run has not; leave the live workers "
            f"stopped, run the --into {manifest.run} command again, and promote then"
        )


def _refuse_while_busy(kafka: KafkaSettings) -> None:
    """Raise :class:`RunError` while live workers are members of their groups."""
    busy = asyncio.run(busy_groups(kafka))
    if busy:
        raise RunError(
            f"live workers run: {', '.join(busy)}; stop them (headrace up: Ctrl-C; a killed one counts until its session ends, "
            f"{kafka.session_timeout_ms / 1000:g} s), and promote again; producers may go on"
        )


def _step_saver(manifest: Manifest, folder: Path) -> Callable[[str], None]:
    def save(step: str) -> None:
        manifest.steps.append(step)
        save_manifest(folder, manifest)
        say(f"done: {step}", style="dim")

    return save
