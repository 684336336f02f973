"""``headrace replay --promote`` of a run with another partition count.

Nothing is written: workers and clients switch to the run's topics.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from streams.errors import RunError
from streams.settings.check import PREFIX
from streams.settings.load import KafkaSettings, Settings
from tools.replay.rebuild.copy_topics import copy_compacted, event_range
from tools.replay.rebuild.manifest import Manifest, is_history_gone, run_settings, save_manifest
from tools.replay.rebuild.outcome import Outcome
from tools.replay.rebuild.promotion_plan import GONE


def promote_elsewhere(settings: Settings, manifest: Manifest, folder: Path) -> Outcome:
    """Check that a run with another partition count has all live events; return what to switch."""
    n_behind = asyncio.run(_n_behind(settings.kafka, manifest))
    into = run_settings(settings, manifest.run, manifest.partitions).kafka
    if n_behind:
        remedy = (
            f"copy them with: headrace replay --into {manifest.run} --from-topic --partitions {manifest.partitions}"
        )
        if not manifest.is_from_topic:
            remedy = "a log's run cannot take them; begin one without --partitions"
        raise RunError(f"--promote {manifest.run}: {n_behind} live events are not in the run; {remedy}")
    # who was forgotten since the run was made: its workers erase them when they start
    asyncio.run(copy_compacted(settings.kafka, into, "privacy", is_live=True))
    manifest.state = "promoted"
    save_manifest(folder, manifest)
    variables = {"HEADRACE_TOPIC_PREFIX": into.topic_prefix, "HEADRACE_PARTITIONS": str(manifest.partitions)}
    # the run's have the prefix
    variables |= {f"{PREFIX}{setting.upper()}": "" for setting in manifest.live_topics}
    lines = [
        *([GONE] if is_history_gone(manifest, {}) else []),
        f"run {manifest.run} has all live events. Topics cannot change their partition count: switch to the topics of the run.",
        "Set for workers, producers and consumers:",
        *(f"  {name}={value}" for name, value in variables.items()),
        f"Events go to {into.topic('events')}.",
        "Start the workers with them, then switch producers, then consumers. To copy the events that producers sent to the old",
        f"topics in between: headrace replay --into {manifest.run} --from-topic --partitions {manifest.partitions}",
    ]
    return Outcome({"run": manifest.run, "switch": variables}, lines)


async def _n_behind(live: KafkaSettings, manifest: Manifest) -> int:
    """Return how many live events the run has not copied."""
    begins, ends = await event_range(live, None, None)
    return sum(max(0, end - manifest.copied.get(p, begins[p])) for p, end in ends.items())
