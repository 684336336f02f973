"""A rebuild's identity and memory: its isolated topics, its manifest, and the lock that keeps a second one out.

::

    .headrace/runs/RUN/  manifest.json   what was copied, from where, under which settings; replaced in one step
                         log.json        position in the log, where a log is the source
                         lock            held by the command at work
                         sequencer/ ...  data directories and logs of the run's workers

Nothing here talks to a broker.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from models.files.atomic import replace_file
from streams.errors import InputError, RunError
from streams.settings.load import KafkaSettings, Settings
from tools.replay.identity import check_run

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
LOCK: Final = "lock"
LOG_CHECKPOINT: Final = "log.json"

State = Literal["copying", "caught-up", "promoting", "promoted"]


class Manifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a run is made of and how far it is.

    Parameters
    ----------
    live_prefix : topic prefix of the deployment that it rebuilds
    live_topics : its topics that settings name in full, by setting
    source : ``topic``, or the log's name with a digest of what fixes its rows
    from_ts, to_ts : range of record timestamps of the live ``events`` that is copied, in ms; None leaves a side open
    live_partitions, partitions : partition counts of the live topics (0 where there are none) and of the run's
    partitioner : chose the run's partitions; a manifest without one is from when there was only that of the default
    bounds : the window bounds of the run
    artifact : version of the artifact that makes its lists
    begins : live partition to the first offset that was copied
    copied : live partition to the offset up to which all is copied
    counts : ``events`` on the run's topic, how many of them are ``repeated`` (copied again after a kill), ``items`` copied
    steps : those of the promotion that are done
    promotions : how often it was promoted in place, which raises revisions
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
        """Whether each event of the run has the offset that it has on the live ``events``: all copied, from 0 on, each once."""
        return (
            self.is_from_topic
            and self.partitions == self.live_partitions
            and not any(self.begins.values())
            and self.counts.get("repeated") == 0
        )


#: What must be as it was when a run goes on: its windows and lists would be mixed from two kinds otherwise.
_FIXED: Final = (
    "live_prefix", "live_topics", "source", "from_ts", "to_ts", "live_partitions", "partitions", "partitioner", "bounds",
    "artifact",
)  # fmt: skip


def run_prefix(live: KafkaSettings, run: str) -> str:
    """Return the topic prefix of a run: its topics and consumer groups are its own."""
    return f"{live.topic_prefix}{check_run(run)}."


def folder_of(state_dir: Path, run: str) -> Path:
    """Return the folder of a run; its name is checked, for it comes from a person."""
    return state_dir / check_run(run)


def run_settings(settings: Settings, run: str, partitions: int) -> Settings:
    """Return the settings of a run's workers: as the deployment's, on topics of its own, also where the deployment names its in full."""
    no_names: dict[str, Any] = dict.fromkeys(settings.kafka.named_topics(), "")
    kafka = replace(settings.kafka, **no_names, topic_prefix=run_prefix(settings.kafka, run), partitions=partitions)
    return replace(settings, kafka=kafka, given=settings.given | {"partitions"})


def is_history_gone(manifest: Manifest, begins: Mapping[int, int]) -> bool:
    """Tell whether a run lacks live events from before its first one, which a promotion takes out of the windows for good.

    Parameters
    ----------
    begins : live partition to the first offset that is still there
    """
    if manifest.is_from_topic:
        return manifest.from_ts is not None or any(manifest.begins.values())
    return any(begins.values())


def bounds_of(settings: Settings) -> dict[str, int]:
    """Return the window bounds by name."""
    return asdict(settings.sequencer.bounds())


def load_manifest(folder: Path) -> Manifest:
    """Return the manifest in a run's folder; raise :class:`InputError` where there is none, or it is damaged."""
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
    """Replace the manifest in one step: after a crash it is the old one or the new one."""
    replace_file(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def begin_or_go_on(folder: Path, wanted: Manifest) -> Manifest:
    """Return the manifest to go on with: the one in the folder, or ``wanted`` where there is none.

    Raises
    ------
    InputError
        When the run there was begun from another source or under other settings.
    """
    if not (folder / MANIFEST).exists():
        save_manifest(folder, wanted)
        return wanted
    found = load_manifest(folder)
    for name in _FIXED:
        was, now = getattr(found, name), getattr(wanted, name)
        if was != now:
            raise InputError(
                f"--into {found.run}: {name} is {now}, the run was begun with {was}; give what it was begun with, or name another run"
            )
    return found


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run: no other command works on it meanwhile. The lock ends with the process, whatever ends it.

    The file stays, for removing it would let two commands lock two files of one name.

    Raises
    ------
    RunError
        When another command holds it; names its process.
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
