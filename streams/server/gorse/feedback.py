"""``POST`` and ``PUT /api/feedback``: each feedback becomes an event."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streams.errors import RecordError
from streams.formats.gorse_rows import feedback_fields, read_time
from streams.server.gate.problems import Problem
from streams.server.gorse.bodies import Feedback
from streams.server.gorse.feedback_types import FeedbackTypes
from streams.server.parts.server import Server
from streams.server.writing.bodies import MAX_EVENTS

#: Most feedback of one request.
MAX_FEEDBACK: Final = 10_000


async def insert_feedback(server: Server, types: FeedbackTypes, feedback: Sequence[Feedback]) -> int:
    """Write an event for each feedback; return how many.

    Raises
    ------
    Problem
        400 when a type is not known or a time is none: then nothing is written. 400 also when an
        event breaks another rule of the contract: then the others are written.
    """
    if len(feedback) > MAX_FEEDBACK:
        raise Problem(400, "bad-value", f"{len(feedback)} feedback, at most {MAX_FEEDBACK}", remedy="send it in parts")
    events = [event_of(types, place, one) for place, one in enumerate(feedback)]
    await write_events(server, events)
    return len(events)


async def write_events(server: Server, events: Sequence[Mapping[str, Any]]) -> None:
    """Write events; raise :class:`Problem` for the first that breaks the contract."""
    for at in range(0, len(events), MAX_EVENTS):
        found = await server.writes.events(msgspec.json.encode(events[at : at + MAX_EVENTS]))
        if found.rejected:
            first = found.rejected[0]
            raise Problem(
                400,
                first.reason,
                f"feedback[{at + first.index}]: {first.field}: {first.detail}; {len(found.rejected)} of "
                f"{len(events)} like this, {at + found.accepted} are written",
                field=first.field,
                remedy="correct it and send all again: a repeat with the same Timestamp changes nothing",
            )


def event_of(types: FeedbackTypes, place: int, feedback: Feedback) -> dict[str, Any]:
    """Return the event of a feedback."""
    fields = feedback_fields(msgspec.to_builtins(feedback))
    try:
        fields["ts"] = read_time(fields["ts"]) if "ts" in fields else int(1000 * time.time())
    except RecordError as exc:
        raise Problem(
            400, exc.reason, f"feedback[{place}]: {exc.detail}", field="Timestamp",
            remedy="write it as 2026-01-31T12:00:00Z; nothing is written",
        ) from None  # fmt: skip
    return fields | {"type": types.event_type(feedback.feedback_type)}
