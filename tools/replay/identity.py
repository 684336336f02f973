"""The identity of a replay: event ids, run names, time ranges and checkpoints. Nothing here talks to a broker.

A replay is harmless to repeat because both of its marks follow from the log alone: ``event_id`` from the row, and ``run`` and
``seq`` from what fixes the ordered sequence of rows. The sequencer takes an event of a run at or below the highest ``seq``
that it has absorbed for that user as a repeat.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from models.files.atomic import replace_file
from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import VERSION, Event, EventType
from streams.errors import InputError
from tools.files.log_reader import LogRow

DIGEST_BYTES: Final = 4  # 8 hexadecimal digits
CONTENT_DIGEST_BYTES: Final = 8
MAX_RUN_LENGTH: Final = 55  # with "@" and the digest: the 64 that the contract allows
_RUN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_RUN_LENGTH - 1}}}")


def digest(*parts: object) -> str:
    """Return 8 hexadecimal digits that identify the parts."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).hexdigest()


def event_id(row: LogRow) -> str:
    """Return the row's own id, or one derived from it that sorts in file order."""
    if row.event_id:
        return row.event_id
    content = f"{row.user_id}\0{row.item_id}\0{row.type}\0{row.ts_ms}".encode()
    return f"{row.line:012d}-{hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()}"


def to_event(row: LogRow, wire_run: str, seq: int) -> Event:
    """Return the event that a row becomes; limits are not checked here."""
    kind: EventType = row.type  # type: ignore[assignment]  # the decoder that checks the event refuses any other
    return Event(
        VERSION, event_id(row), row.user_id, row.item_id, kind, row.ts_ms, row.session_id, row.value, wire_run, seq
    )


@dataclass(frozen=True)
class TimeRange:
    """Event times to publish, in ms: from ``start`` on and before ``end``; None leaves a side open."""

    start: int | None = None
    end: int | None = None

    def __contains__(self, ts_ms: int) -> bool:
        return (self.start is None or ts_ms >= self.start) and (self.end is None or ts_ms < self.end)


def parse_time(option: str, text: str | None) -> int | None:
    """Return a time in ms since the epoch from ISO 8601 (UTC where no zone is given) or from ms."""
    if text is None:
        return None
    if re.fullmatch(r"\d{5,15}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{option} {text!r}: not a time; give ISO 8601, as 1998-03-01T12:00, or milliseconds since 1970"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def parse_range(start: str | None, end: str | None) -> TimeRange:
    """Return the range of ``--from`` and ``--to``."""
    times = TimeRange(parse_time("--from", start), parse_time("--to", end))
    if times.start is not None and times.end is not None and times.start >= times.end:
        raise InputError(f"--from {start} is not before --to {end}: no event can lie between")
    return times


def content_digest(log: Path) -> str:
    """Return 16 hexadecimal digits of a file's content; a file that has not changed is read once in a process."""
    found = log.stat()
    return _content_digest(log.absolute(), found.st_size, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=4)
def _content_digest(log: Path, *_state: int) -> str:
    with log.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=CONTENT_DIGEST_BYTES)).hexdigest()


def default_run(log: Path) -> str:
    """Return the run name of a log: its file name, for people, and a digest of its content."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", log.name).strip(".-_")[:30] or "log"
    return f"{stem}-{content_digest(log)[: 2 * DIGEST_BYTES]}"


def check_run(run: str) -> str:
    """Return a run name if it can name a file and fits on the wire."""
    if not _RUN.fullmatch(run):
        raise InputError(
            f"--run {run!r}: give 1 to {MAX_RUN_LENGTH} letters, digits, dots, dashes or underscores, no dot or dash first"
        )
    return run


def wire_run(run: str, log: Path, *mapping: object) -> str:
    """Return the run as events carry it: its name, and a digest of all that fixes the sequence of its rows: the
    log's content and how it is read. A log that was renamed or copied is the same run, a corrected one is another.

    Parameters
    ----------
    mapping : columns, types, time unit and time range, as the user gave them
    """
    return f"{run}@{digest(content_digest(log), *mapping)}"


def run_of(args: argparse.Namespace, times: TimeRange, pseudonyms: Pseudonyms | None) -> str:
    """Return the run that the events of ``args.log`` carry: another key of the user ids makes another one.

    Parameters
    ----------
    args : the options ``log``, ``run``, ``columns``, ``types`` and ``time_unit``
    """
    name = check_run(args.run or default_run(args.log))
    under_key = [] if pseudonyms is None else [pseudonyms.fingerprint()]
    return wire_run(name, args.log, args.columns, args.types, args.time_unit, times.start, times.end, *under_key)


def with_pseudonym(row: LogRow, pseudonyms: Pseudonyms | None) -> LogRow:
    """Return a row with its user's pseudonym where there is a key."""
    return row if pseudonyms is None else replace(row, user_id=pseudonyms.of(row.user_id))


@dataclass(frozen=True)
class Checkpoint:
    """How far a replay has been delivered: every row up to position ``seq`` of its sequence; -1 for none.

    ``partitioner`` chose the partitions; a checkpoint without one is from when there was only that of the default.
    """

    run: str
    seq: int
    sent: int
    partitioner: str = "murmur2"

    def save(self, path: Path) -> None:
        """Replace the checkpoint file in one step."""
        replace_file(path, msgspec.json.encode(self))


def load_checkpoint(path: Path, expected_run: str, partitioner: str) -> Checkpoint | None:
    """Return the checkpoint in a file, or None where there is no file.

    Raises
    ------
    InputError
        When it is damaged, belongs to another log or mapping, or to another partitioner: users would be split over two partitions.
    """
    if not path.exists():
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as exc:
        raise InputError(f"{path}: not a checkpoint ({exc}); start over without --resume") from exc
    if found.run != expected_run:
        raise InputError(
            f"--resume: {path} belongs to {found.run}, this is {expected_run}: the log, --columns, --types, --time-unit, "
            "--from and --to must be as they were; or start over without --resume"
        )
    if found.partitioner != partitioner:
        raise InputError(
            f"{path}: {found.sent} events were sent with partitioner={found.partitioner}, HEADRACE_PARTITIONER is {partitioner}: their "
            "users' other events would lie elsewhere; set it as it was, or start over without --resume"
        )
    return found
