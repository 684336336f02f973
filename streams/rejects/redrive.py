"""Puts rejects back onto ``events``: corrects, checks and sends them, and marks them as sent."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from streams.contract.marks import NO_MARKS, Marks
from streams.contract.records import EventDecoder
from streams.errors import InputError, RecordError
from streams.rejects.reject_reader import RejectedEvent, mark
from streams.settings.load import KafkaSettings

#: The header of a redriven event that names the original record.
REDRIVEN_FROM: Final = "redriven-from"
#: Events sent between two marks. After a crash these may be sent again, which is harmless: the
#: sequencer drops repeated event ids.
MARK_EVERY: Final = 500
EDIT_TIMEOUT_S: Final = 30.0


class EditError(Exception):
    """The edit command made no value of a record; the message is one line."""


class Sink(Protocol):
    """Takes events and marks: a :class:`~streams.kafka.publisher.Publisher`, or a list in tests."""

    async def publish(
        self, topic: str, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]] | None = None
    ) -> None:
        """Take a record."""

    async def flush(self) -> None:
        """Wait until all records are delivered."""


@dataclass
class Tally:
    """What a redrive did with the rejects that were asked for: ``sent``, or would be; ``left``
    would be rejected again; ``forgotten`` are of users from before their request to be forgotten.
    """

    sent: int = 0
    redriven_before: int = 0
    forgotten: int = 0
    left: int = 0
    reasons_left: dict[str, int] = field(default_factory=dict)


class Redriver:
    """Sends rejects; without a sink it only counts what it would send.

    Parameters
    ----------
    edit : a command that reads a record's value from standard input and writes the corrected value
        to standard output
    marks : forgotten users; what they did before their request is not sent, nor given to ``edit``
    told : called with what is not sent, and why
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        decoder: EventDecoder,
        edit: str | None,
        sink: Sink | None,
        marks: Marks = NO_MARKS,
        told: Callable[[str, Exception], None] = lambda place, exc: None,
    ) -> None:
        self._told = told
        self._marks = marks
        self.tally = Tally()
        self._kafka = kafka
        self._decoder = decoder
        self._edit = split_command(edit) if edit is not None else None
        self._sink = sink
        self._unmarked: list[str] = []

    async def redrive(self, rejects: AsyncIterator[RejectedEvent], done: set[str]) -> None:
        """Send the rejects that are not in ``done``; mark those that were sent, also after an
        error.
        """
        try:
            async for reject in rejects:
                if reject.id in done:
                    self.tally.redriven_before += 1
                    continue
                if _time_of(reject) <= self._marks.get(reject.key or b"", -1):
                    self.tally.forgotten += 1
                    continue
                try:
                    key, value = await self._corrected(reject)
                except (RecordError, EditError) as exc:
                    self._leave(reject, exc)
                    continue
                event = self._decoder.decode(value)
                if event.ts <= self._marks.get(event.user_id.encode(), -1):
                    self.tally.forgotten += 1
                    continue
                await self._send(reject, key, value)
        finally:
            await self._mark()

    async def _corrected(self, reject: RejectedEvent) -> tuple[bytes, bytes]:
        value = reject.value or b""
        if self._edit is not None:
            value = await edited(self._edit, value)
        elif reject.size:
            raise RecordError("too-large", "", f"only the beginning of {reject.size} bytes was kept; give --edit")
        key = self._key(reject, value)
        self._decoder.decode_event(key, value, int(time.time() * 1000))
        return key, value

    def _key(self, reject: RejectedEvent, value: bytes) -> bytes:
        """Return the key that the contract asks for.

        An encoded key stays, because its partition must stay.
        """
        plain = self._decoder.decode(value).user_id.encode()
        if self._decoder.keys_are_ids or not reject.key:
            return plain
        try:
            self._decoder.decode_event(reject.key, value, int(time.time() * 1000))
        except RecordError as exc:
            return plain if exc.reason == "key" else reject.key
        return reject.key

    async def _send(self, reject: RejectedEvent, key: bytes, value: bytes) -> None:
        self.tally.sent += 1
        if self._sink is None:
            return
        headers = [header for header in reject.headers if header[0] != REDRIVEN_FROM]
        headers.append((REDRIVEN_FROM, reject.id.encode()))
        await self._sink.publish(self._kafka.topic("events"), key, value, headers)
        self._unmarked.append(reject.id)
        if len(self._unmarked) >= MARK_EVERY:
            await self._mark()

    async def _mark(self) -> None:
        if self._sink is None or not self._unmarked:
            return
        await self._sink.flush()  # events first, so that a marked reject has been sent
        ids, self._unmarked = self._unmarked, []
        await self._sink.publish(self._kafka.topic("events.rejected"), *mark(ids))
        await self._sink.flush()

    def _leave(self, reject: RejectedEvent, exc: Exception) -> None:
        self.tally.left += 1
        self._told(f"{reject.id}: not sent", exc)
        reason = exc.reason if isinstance(exc, RecordError) else "edit"
        self.tally.reasons_left[reason] = self.tally.reasons_left.get(reason, 0) + 1


def _time_of(reject: RejectedEvent) -> int:
    return int(reject.ts) if reject.ts.isdecimal() else 0


def split_command(command: str) -> list[str]:
    """Return the words of ``--edit``; they do not go through a shell."""
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise InputError(f"--edit {command!r}: {exc}; give a command as in a shell") from None
    if not words:
        raise InputError("--edit '': no command; give one that reads a value and writes the corrected one")
    return words


async def edited(command: list[str], value: bytes) -> bytes:
    """Return the value that the edit command writes.

    Raises
    ------
    InputError
        When the command does not exist.
    EditError
        When the command fails, writes nothing or does not end.
    """
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as exc:
        raise InputError(f"--edit {command[0]!r}: {exc.strerror}; name a program that can be run") from None
    try:
        out, err = await asyncio.wait_for(process.communicate(value), EDIT_TIMEOUT_S)
    except TimeoutError:
        raise EditError(f"edit: the command has not ended within {EDIT_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it wrote no error"]
        raise EditError(f"edit: the command ended with {process.returncode}: {last[0][:200]}")
    if not out:
        raise EditError("edit: the command wrote no value")
    return out
