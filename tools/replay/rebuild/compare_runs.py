"""``headrace replay --compare RUN``: compares a run's windows and lists with the live ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.contract.newest_lists import LatestLists
from streams.contract.records import Recommendation, RecordDecoder, encode
from streams.contract.windows import decode_window
from streams.errors import InputError, RecordError, TopicError
from streams.kafka.deployment import load_deployment
from streams.kafka.topic_reader import newest_values, read_records
from streams.recommender.list_encoding import list_id
from streams.settings.event_table import table_text
from streams.settings.load import KafkaSettings, Settings
from tools.oracle.compare import Difference, compare_lists, compare_windows
from tools.replay.rebuild.copy_topics import event_range, has_lost_records
from tools.replay.rebuild.manifest import MANIFEST, Manifest, bounds_of, load_manifest, run_lock, run_settings
from tools.replay.rebuild.outcome import Outcome

SHOWN: Final = 10


@dataclass(frozen=True)
class Held:
    """The newest window and the newest list of each user of a deployment, by user key.

    Parameters
    ----------
    is_trimmed : whether retention has deleted lists, so that a user may have none
    """

    windows: dict[bytes, bytes]
    lists: dict[bytes, Recommendation]
    is_trimmed: bool = False


@dataclass
class Comparison:
    """The differences between a run and the live topics, and notes about their reasons."""

    n_users: int
    windows: list[Difference]
    lists: list[Difference]
    notes: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.windows and not self.lists

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, the first differences and the notes."""
        first = [{"where": "sequences", **asdict(d)} for d in self.windows[:SHOWN]]
        first += [{"where": "recommendations", **asdict(d)} for d in self.lists[:SHOWN]]
        return {
            "equal": self.is_equal,
            "users": self.n_users,
            "windows": _count(self.windows),
            "lists": _count(self.lists),
            "first": first,
            "notes": self.notes,
        }

    def as_lines(self) -> list[str]:
        """Return the same as lines of text."""
        if self.is_equal:
            head = f"equal: the windows and lists of {self.n_users} users"
        else:
            head = f"of {self.n_users} users {len(self.windows)} windows and {len(self.lists)} lists differ"
        found = self.as_dict()["first"]
        lines = [f"{d['where']} {d['user_id']!r}: {d['what']}: {d['why']}" for d in found]
        return [head, *lines, *(f"note: {note}" for note in self.notes)]


def _count(differences: Sequence[Difference]) -> dict[str, int]:
    counts = Counter(d.what for d in differences)
    return {"missing": counts["missing"], "extra": counts["extra"], "wrong": counts["wrong"]}


def compare_held(run: Held, live: Held, *, with_offsets: bool, with_revisions: bool) -> Comparison:
    """Compare a run with the live topics, which count as right.

    A live window without events counts as none: a promotion leaves it of a user whom the promoted
    run did not have. If retention has deleted lists, only users with a list on both sides are
    compared.

    Parameters
    ----------
    with_offsets : False when events have other offsets in the run
    with_revisions : False after a promotion, which raises revisions
    """
    emptied = {key for key, value in live.windows.items() if _is_empty(value)}
    windows = {key: value for key, value in live.windows.items() if key not in emptied}
    lists = {key: made for key, made in live.lists.items() if key not in emptied}
    run_windows, run_lists = run.windows, run.lists
    if not with_revisions:
        run_windows = {key: _with_revision(value, windows.get(key)) for key, value in run_windows.items()}
    run_lists = {
        key: _alike(made, lists.get(key), with_offsets=with_offsets, with_revisions=with_revisions)
        for key, made in run_lists.items()
    }
    notes = []
    if run.is_trimmed or live.is_trimmed:
        n_all, both = len(run_lists.keys() | lists.keys()), run_lists.keys() & lists.keys()
        run_lists, lists = ({key: side[key] for key in both} for side in (run_lists, lists))
        notes.append(
            f"retention has deleted lists: those of {n_all - len(both)} users are on one side only, and left out"
        )
    return Comparison(
        len(run_windows.keys() | windows.keys()),
        compare_windows(run_windows, windows, with_offsets=with_offsets),
        compare_lists(run_lists, lists),
        notes,
    )


def _is_empty(window: bytes) -> bool:
    try:
        state = decode_window(window)
    except RecordError:
        return False  # compare_windows reports it
    return not (state.items or state.hidden or state.passed)


def _with_revision(value: bytes, live: bytes | None) -> bytes:
    if live is None:
        return value
    try:
        state = decode_window(value)
        state.revision = decode_window(live).revision
    except RecordError:
        return value
    return encode(state)


def _alike(
    made: Recommendation, live: Recommendation | None, *, with_offsets: bool, with_revisions: bool
) -> Recommendation:
    """Return a run's list with the fields that are not compared set to the live values."""
    if live is None:
        return made
    changes: dict[str, Any] = {} if with_offsets else {"offset": live.offset}
    if not with_revisions:
        changes |= {
            "revision": live.revision,
            "list_id": list_id(made.user_id, live.revision, made.event_id, made.artifact),
        }
    return msgspec.structs.replace(made, **changes) if changes else made


async def read_held(kafka: KafkaSettings) -> Held:
    """Read the newest window and the newest list of every user, as a consumer should read them."""
    latest, decoder = LatestLists(), RecordDecoder(Recommendation)
    lists: dict[bytes, Recommendation] = {}
    async for record in read_records(kafka, kafka.topic("recommendations")):
        if record.value is None and record.key is not None:
            latest.forget(record.key.decode("utf-8", "replace"))
            lists.pop(record.key, None)
            continue
        try:
            made = decoder.decode(record.value)
        except RecordError as exc:
            raise TopicError(
                f"{kafka.topic('recommendations')}-{record.partition} offset {record.offset}: {exc}"
            ) from exc
        if latest.accept(made):
            lists[made.user_id.encode()] = made
    is_trimmed = await has_lost_records(kafka, "recommendations")
    return Held(await newest_values(kafka, "sequences"), lists, is_trimmed)


def settings_notes(manifest: Manifest, settings: Settings) -> list[str]:
    """Return notes on settings that may be the reason of a difference."""
    notes = [
        f"bounds differ: {name} is {now} here, {manifest.bounds.get(name)} in the run"
        for name, now in bounds_of(settings).items()
        if manifest.bounds.get(name) != now
    ]
    if manifest.event_types != table_text(settings.sequencer.types()):
        notes.append(f"event types differ: the run has {manifest.event_types}")
    if settings.recommender.live_popularity == "on":
        notes.append(
            "live popularity is on: scores depend on when each worker started and what it has read since; "
            "for equal lists set HEADRACE_LIVE_POPULARITY=off in both"
        )
    return notes


def source_notes(manifest: Manifest, ends: Mapping[int, int]) -> list[str]:
    """Return notes on the copied events that may be the reason of a difference.

    Parameters
    ----------
    ends : live partition to the end of ``events`` now
    """
    notes = []
    if manifest.state == "copying":
        notes.append("the run is not finished: its --into was interrupted; the same command again goes on")
    if not manifest.is_from_topic:
        notes.append(f"the run was made from a log ({manifest.source}): the live windows may hold other events")
        return notes
    n_after = sum(max(0, end - manifest.copied.get(p, 0)) for p, end in ends.items())
    if manifest.from_ts is not None or manifest.to_ts is not None:
        notes.append(
            f"the run has events published from {manifest.from_ts} to {manifest.to_ts} (ms): others are outside of its range"
        )
    elif any(manifest.begins.values()):
        notes.append("the live events did not reach back to offset 0: the run has none of what retention had deleted")
    if n_after:
        notes.append(
            f"{n_after} live events came after the copied offsets, or lie behind the range; --into again copies them"
        )
    if not manifest.has_live_offsets:
        notes.append("offsets of triggers are not compared: events have other offsets in the run")
    return notes


def artifact_notes(run: Held, live: Held) -> list[str]:
    """Return a note if different artifacts made the lists."""
    ours, theirs = ({made.artifact for made in held.lists.values()} for held in (run, live))
    if ours == theirs:
        return []
    names = [", ".join(sorted(found)) or "none" for found in (ours, theirs)]
    return [f"artifacts differ: the run's lists are by {names[0]}, the live ones by {names[1]}"]


def was_promoted(state_dir: Path, live_prefix: str) -> bool:
    """Return whether a run in this folder was ever promoted onto these live topics.

    After a promotion a revision is no longer the number of accepted events. Damaged runs are
    skipped.
    """
    for path in sorted(state_dir.glob(f"*/{MANIFEST}")):
        with contextlib.suppress(InputError):
            manifest = load_manifest(path.parent)
            if manifest.promotions and manifest.live_prefix == live_prefix:
                return True
    return False


def run_compare(folder: Path, broker: str | None) -> Outcome:
    """Compare the run in a folder with the live topics; the exit code is 1 if they differ."""
    manifest = load_manifest(folder)
    settings = load_deployment(broker=broker)
    with run_lock(folder):
        comparison = asyncio.run(_compare(settings, manifest, folder.parent))
    exit_code = 0 if comparison.is_equal else 1
    return Outcome({"run": manifest.run, **comparison.as_dict()}, comparison.as_lines(), exit_code)


async def _compare(settings: Settings, manifest: Manifest, state_dir: Path) -> Comparison:
    into = run_settings(settings, manifest.run, manifest.partitions)
    run, live = await read_held(into.kafka), await read_held(settings.kafka)
    _, ends = await event_range(settings.kafka, None, None)
    is_promoted = was_promoted(state_dir, settings.kafka.topic_prefix)
    comparison = compare_held(run, live, with_offsets=manifest.has_live_offsets, with_revisions=not is_promoted)
    comparison.notes += source_notes(manifest, ends)
    if is_promoted:
        comparison.notes.append("revisions are not compared: a promotion has raised those of the live windows")
    if not comparison.is_equal:
        comparison.notes += settings_notes(manifest, settings) + artifact_notes(run, live)
    return comparison
