"""``headrace produce``: publishes JSON-lines events after checking them against the contract.

``v`` defaults to the current version and ``ts`` to now. A missing ``event_id`` is derived from the
event's content, so that a file can be published twice without harm. Where ``ts`` was filled in, two
lines of equal content are two events.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from models.event_types import DEFAULT_TYPES, EventTypes
from streams.contract.pseudonyms import Pseudonyms, open_pseudonyms
from streams.contract.records import VERSION, Event, EventDecoder, encode
from streams.errors import RecordError
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.permissions import prepare
from streams.kafka.publisher import Publisher
from streams.printable import counted
from streams.settings.load import Settings, load_settings
from tools.cli import emit, progress
from tools.files.json_lines import read_json_lines
from tools.files.refused_rows import RefusedRows


class EventMaker:
    """Turns lines into checked events.

    With ``pseudonyms``, no field of an event holds the raw user id or is derived from it.
    """

    def __init__(
        self, max_future_skew_ms: int, pseudonyms: Pseudonyms | None = None, types: EventTypes = DEFAULT_TYPES
    ) -> None:
        self._pseudonyms = pseudonyms
        self._decoder = EventDecoder(max_future_skew_ms, types)
        self._lines = msgspec.json.Decoder(dict[str, Any])

    def make(self, number: int, line: bytes, now_ms: int) -> tuple[bytes, Event]:
        """Return the record key and the event of a line.

        Raises
        ------
        RecordError
            When the line is not a JSON object or breaks the contract; has reason and field.
        """
        try:
            fields = self._lines.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise RecordError("malformed", "", f"not a JSON object: {exc}") from exc
        if self._pseudonyms is not None and isinstance(fields.get("user_id"), str):
            fields["user_id"] = self._pseudonyms.of(fields["user_id"])
        fields.setdefault("v", VERSION)
        is_timed = "ts" in fields
        if isinstance(fields.get("ts"), float) and fields["ts"].is_integer():
            fields["ts"] = int(fields["ts"])  # so that 5 and 5.0 give the same event id
        fields.setdefault("ts", now_ms)
        fields.setdefault("event_id", derive_event_id(fields, salt="" if is_timed else str(number)))
        user_id = fields.get("user_id")
        key = user_id.encode() if isinstance(user_id, str) else b""
        return key, self._decoder.decode_event(key, msgspec.json.encode(fields), now_ms)


def derive_event_id(fields: dict[str, Any], salt: str = "") -> str:
    """Return an id that is derived from the event's content and sorts by its time."""
    names = ("user_id", "item_id", "type", "ts", "session_id", "value")
    content = msgspec.json.encode([fields.get(name) for name in names])
    ts = fields["ts"] if isinstance(fields["ts"], int) else 0
    return f"{ts:013d}-{hashlib.blake2b(content + salt.encode(), digest_size=8).hexdigest()}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("file", metavar="FILE|-", help="one JSON object per line; - reads standard input")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where a line was refused."""
    settings = load_settings(broker=args.broker)
    tally = Tally()
    lines = read_json_lines(None if args.file == "-" else Path(args.file))
    try:
        asyncio.run(_produce(settings, lines, tally))
    except KeyboardInterrupt:
        emit(args, {"sent": tally.sent, "refused": tally.refused.n})
        raise
    told = f"{counted(tally.sent, 'event')} sent, {counted(tally.refused.n, 'line')} refused"
    emit(args, {"sent": tally.sent, "refused": tally.refused.n}, told)
    return 1 if tally.refused.n else 0


@dataclass
class Tally:
    """How many lines were sent and refused."""

    sent: int = 0
    refused: RefusedRows = field(default_factory=lambda: RefusedRows("refused lines"))


async def _produce(settings: Settings, lines: AsyncIterator[tuple[int, bytes]], tally: Tally) -> None:
    settings = await with_existing_partitions(settings)
    await prepare(settings.kafka, "producer")
    maker = EventMaker(
        settings.sequencer.max_future_skew_ms, open_pseudonyms(settings.kafka), settings.sequencer.types()
    )
    topic = settings.kafka.topic("events")
    with progress() as bar:
        task = bar.add_task("publishing", total=None)
        async with Publisher(settings.kafka) as publisher:
            try:
                async for number, line in lines:
                    try:
                        key, event = maker.make(number, line, int(time.time() * 1000))
                    except RecordError as exc:
                        tally.refused.refuse(f"line {number}", exc)
                        continue
                    await publisher.publish(topic, key, encode(event))
                    tally.sent += 1
                    if tally.sent % 1_000 == 0:
                        bar.update(task, completed=tally.sent)
            finally:
                await publisher.flush()
