"""What a rebuild keeps: its topics, its manifest, and the lock that keeps a second command out.

::

    .headrace/runs/RUN/  manifest.json   what was copied, from where, with which settings
                         log.json        the position in the log, where a log is the source
                         lock            held by the command that works on the run
                         sequencer/ ...  data directories and logs of the run's workers

Nothing here talks to a broker.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from models.files.atomic import replace_file
from streams.errors import InputError, RunError
from streams.settings.event_table import DEFAULT_TABLE
from streams.settings.load import KafkaSettings, Settings
from streams.settings.record_limits import WindowBounds
from tools.replay.identity import check_run

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
LOCK: Final = "lock"
LOG_CHECKPOINT: Final = "log.json"

State = Literal["copying", "caught-up", "promoting", "promoted"]


class Manifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where the events of a run come from, its settings, and how far it is.

    Parameters
    ----------
    live_prefix : topic prefix of the deployment that the run rebuilds
    live_topics : the topics that the deployment's settings name in full, by setting
    source : ``topic`` for the live events, or the log's run on the wire
    from_ts, to_ts : live events with a record timestamp in this range are copied, in ms; None
        leaves a side open
    live_partitions, partitions : partition counts of the live topics (0 where there are none) and
        of the run's topics
    partitioner : chose the run's partitions. Earlier versions had only the default one and did not
        write it
    bounds : the window bounds of the run
    event_types : the run's table of event types; earlier versions had only the default one
    artifact : version of the artifact that makes the run's lists
    begins : live partition to the first offset that was copied
    copied : live partition to the offset before which all events are copied
    counts : ``events`` on the run's topic, how many of them are ``repeated`` (copied twice, because
        of a kill), and ``items`` and ``users`` copied
    steps : the steps of the promotion that are done
    promotions : how often the run was promoted in place; each promotion raises revisions
    """

    format: int = FORMAT
    run: str
    live_prefix: str
    live_topics: dict[str, str] = {}
    source: str
    from_ts: int | None = None
    to_ts: int | None = None
    live_partitions: int
    partitions: int
    partitioner: str = "murmur2"
    bounds: dict[str, int]
    event_types: str = DEFAULT_TABLE
    artifact: str
    state: State = "copying"
    begins: dict[int, int] = {}
    copied: dict[int, int] = {}
    counts: dict[str, int] = {}
    steps: list[str] = []
    promotions: int = 0

    @property
    def is_from_topic(self) -> bool:
        """Whether the live ``events`` topic is the source."""
        return self.source == "topic"

    @property
    def has_live_offsets(self) -> bool:
        """Whether each event has its live offset: every live event was copied, and once."""
        return (
            self.is_from_topic
            and self.partitions == self.live_partitions
            and not any(self.begins.values())
            and self.counts.get("repeated") == 0
        )


#: These must be equal when a command continues a run; otherwise the run would mix windows and lists
#: of two kinds.
_FIXED: Final = (
    "live_prefix", "live_topics", "source", "from_ts", "to_ts", "live_partitions", "partitions", "partitioner", "bounds",
    "event_types", "artifact",
)  # fmt: skip


def run_prefix(live: KafkaSettings, run: str) -> str:
    """Return the topic prefix of a run, which also names its consumer groups."""
    return f"{live.topic_prefix}{check_run(run)}."


def folder_of(state_dir: Path, run: str) -> Path:
    """Return the folder of a run; raise :class:`InputError` where the name cannot name a folder."""
    return state_dir / check_run(run)


def run_settings(settings: Settings, run: str, partitions: int) -> Settings:
    """Return the deployment's settings for the workers of a run, on the run's topics.

    The topics that the deployment names in full get their names from the run's prefix, too.
    """
    no_names: dict[str, Any] = dict.fromkeys(settings.kafka.named_topics(), "")
    kafka = replace(settings.kafka, **no_names, topic_prefix=run_prefix(settings.kafka, run), partitions=partitions)
    return replace(settings, kafka=kafka, given=settings.given | {"partitions"})


def is_history_gone(manifest: Manifest, begins: Mapping[int, int]) -> bool:
    """Return whether a run lacks older live events; a promotion removes them from the windows.

    Parameters
    ----------
    begins : live partition to the first offset that the broker still has
    """
    if manifest.is_from_topic:
        return manifest.from_ts is not None or any(manifest.begins.values())
    return any(begins.values())


def bounds_of(settings: Settings) -> dict[str, int]:
    """Return the window bounds by name."""
    group = settings.sequencer
    return {one.name: getattr(group.bounds(), one.name) for one in fields(WindowBounds) if one.name != "types"}


def load_manifest(folder: Path) -> Manifest:
    """Return the manifest of a run; raise :class:`InputError` for a missing or damaged one."""
    path = folder / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise InputError(f"{path}: no such run; begin it with: headrace replay --into {folder.name} ...") from None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as exc:
        raise InputError(f"{path}: not a manifest ({exc}); name another run") from exc
    if found.format != FORMAT:
        raise InputError(f"{path}: format {found.format}, this version reads {FORMAT}; name another run")
    return found


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in one step; a crash leaves the old one or the new one."""
    replace_file(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def begin_or_go_on(folder: Path, wanted: Manifest) -> Manifest:
    """Return the manifest in the folder, or save and return ``wanted`` where there is none.

    Raises
    ------
    InputError
        When the run in the folder began with another source or other settings.
    """
    if not (folder / MANIFEST).exists():
        save_manifest(folder, wanted)
        return wanted
    found = load_manifest(folder)
    for name in _FIXED:
        was, now = getattr(found, name), getattr(wanted, name)
        if was != now:
            raise InputError(
                f"--into {found.run}: {name} is {now}, the run began with {was}; give that value again, or name another run"
            )
    return found


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run, so that no other command works on it. The lock ends with the process.

    The lock file stays: removing it would let two commands lock two files of the same name.

    Raises
    ------
    RunError
        When another command holds the run; the message names its process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            raise RunError(
                f"run {folder.name} is being worked on by process {holder}; wait for it, or stop it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)
