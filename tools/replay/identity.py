"""The identity of a replay: event ids and run names. Nothing here talks to a broker.

A replay can be repeated without harm, because the log alone determines both of its marks. The row
gives ``event_id``. The log and how it is read give ``run``, and the position in its ordered rows
gives ``seq``. The sequencer keeps the highest ``seq`` that it has absorbed of each run for each
user; an event of that run at or below it is a repeat.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from models.base.vocabulary import EventType
from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import VERSION, Event
from streams.errors import InputError
from tools.files.cells.times import TimeRange
from tools.files.formats.named_files import find_files
from tools.files.log_source import LogSource
from tools.files.logs.log_rows import LogRow

DIGEST_BYTES: Final = 4  # 8 hexadecimal digits
CONTENT_DIGEST_BYTES: Final = 8
MAX_RUN_LENGTH: Final = 55  # with "@" and the digest these are the 64 characters of the contract
_RUN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_RUN_LENGTH - 1}}}")


def digest(*parts: object) -> str:
    """Return 8 hexadecimal digits that identify the parts."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).hexdigest()


def event_id(row: LogRow) -> str:
    """Return the row's own id, or one derived from it that sorts in file order."""
    if row.event_id:
        return row.event_id
    content = f"{row.user_id}\0{row.item_id}\0{row.type}\0{row.ts_ms}" + (f"\0{row.part}" if row.part else "")
    return f"{row.line:012d}-{hashlib.blake2b(content.encode(), digest_size=DIGEST_BYTES).hexdigest()}"


def to_event(row: LogRow, wire_run: str, seq: int) -> Event:
    """Return a row as an event; the caller checks it against the contract."""
    kind: EventType = row.type  # type: ignore[assignment]  # the decoder that checks the event refuses any other
    return Event(
        VERSION, event_id(row), row.user_id, row.item_id, kind, row.ts_ms, row.session_id, row.value, wire_run, seq
    )


def content_digest(logs: Sequence[Path]) -> str:
    """Return 16 hexadecimal digits of the files' content; a process reads an unchanged file once.

    Raises
    ------
    InputError
        When a file is not there.
    """
    parts = []
    for file in find_files(logs):
        found = file.path.stat()
        parts.append(_content_digest(file.path.absolute(), found.st_size, found.st_mtime_ns, found.st_ino))
    if len(parts) == 1:
        return parts[0]
    return hashlib.blake2b("".join(parts).encode(), digest_size=CONTENT_DIGEST_BYTES).hexdigest()


@lru_cache(maxsize=4)
def _content_digest(log: Path, *_state: int) -> str:
    with log.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=CONTENT_DIGEST_BYTES)).hexdigest()


def default_run(logs: Sequence[Path]) -> str:
    """Return the run name of a log.

    It is the first file's name, for people, and a digest of the content.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", logs[0].name).strip(".-_")[:30] or "log"
    return f"{stem}-{content_digest(logs)[: 2 * DIGEST_BYTES]}"


def check_run(run: str) -> str:
    """Return a run name; raise :class:`InputError` where it cannot name a file or is too long."""
    if not _RUN.fullmatch(run):
        raise InputError(
            f"--run {run!r}: give 1 to {MAX_RUN_LENGTH} letters, digits, dots, dashes or underscores; the first must be a letter or a digit"
        )
    return run


def wire_run(run: str, logs: Sequence[Path], *mapping: object) -> str:
    """Return the run as events carry it: its name, and a digest of what determines its rows.

    These are the log's content and how it is read. So a log that was renamed or copied is the same
    run, and a corrected log is another run.

    Parameters
    ----------
    mapping : columns, types, time unit and time range, as the user gave them
    """
    return f"{run}@{digest(content_digest(logs), *mapping)}"


@dataclass(frozen=True)
class LogReplay:
    """The replay of a log, or of its events between two times.

    Parameters
    ----------
    run : the name that the user gave; None takes :func:`default_run`
    """

    source: LogSource
    run: str | None = None
    times: TimeRange = TimeRange()

    def __post_init__(self) -> None:
        self.source.check_timed()

    @property
    def name(self) -> str:
        """Return the run's name, which also names its checkpoint.

        Raises
        ------
        InputError
            When the name cannot name a file, or there is no such log.
        """
        return check_run(self.run or default_run(self.source.paths))

    def wire_run(self, pseudonyms: Pseudonyms | None) -> str:
        """Return the run that the events carry; another key for the user ids makes another run."""
        source, times = self.source, self.times
        # Earlier versions had None for an option that was not given; their runs stay resumable.
        mapping: tuple[str | None, ...] = (source.files.columns or None, source.types or None, source.time_unit)
        mapping += tuple(f"{name}={value}" for name, value in sorted(source.changed_options().items()))
        under_key = [] if pseudonyms is None else [pseudonyms.fingerprint()]
        return wire_run(self.name, source.paths, *mapping, times.start, times.end, *under_key)


def with_pseudonym(row: LogRow, pseudonyms: Pseudonyms | None) -> LogRow:
    """Return a row with its user's pseudonym; without a key, the row as it is."""
    return row if pseudonyms is None else replace(row, user_id=pseudonyms.of(row.user_id))
