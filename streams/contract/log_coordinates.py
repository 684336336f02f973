"""Where the record is that a log line is about, as fields beside the line.

The text format shows the line alone; ``log_format=json`` shows the fields too::

    log.error("...", extra=about(record.topic, record.partition, record.offset))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

#: The attribute of a log record that holds the fields.
ATTRIBUTE: Final = "coordinates"
#: A line about many records names at most so many of them.
MAX_RECORDS: Final = 20


def about(topic: str, partition: int, offset: int | None = None, event_id: str = "") -> dict[str, dict[str, Any]]:
    """Return the ``extra`` of a log line about one record; about a partition without an offset."""
    fields: dict[str, Any] = {"topic": topic, "partition": partition}
    if offset is not None and offset >= 0:
        fields["offset"] = offset
    if event_id:
        fields["event_id"] = event_id
    return {ATTRIBUTE: fields}


def about_all(topic: str, partition: int, offsets: Sequence[int | None]) -> dict[str, dict[str, Any]]:
    """Return the ``extra`` of a log line about many records of a partition.

    ``offset`` is that of the first one, and ``offsets`` has the first :data:`MAX_RECORDS`.
    """
    known = [offset for offset in offsets if offset is not None]
    extra = about(topic, partition, known[0] if known else None)
    if len(known) > 1:
        extra[ATTRIBUTE]["offsets"] = known[:MAX_RECORDS]
    return extra


def about_events(topic: str, events: Sequence[tuple[int, int, str]]) -> dict[str, dict[str, Any]]:
    """Return the ``extra`` of a log line about events, each as partition, offset and ``event_id``.

    The fields are those of the first event, and ``events`` has the first :data:`MAX_RECORDS`.
    """
    extra = about(topic, *events[0])
    if len(events) > 1:
        extra[ATTRIBUTE]["events"] = [about(topic, *event)[ATTRIBUTE] for event in events[:MAX_RECORDS]]
    return extra
