"""Spans of a batch's traced events, and the headers of the windows that come of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.contract.kafka_records import ConsumedRecord, Headers, OutRecord
from streams.contract.records import EventDecoder
from streams.errors import RecordError
from streams.runtime.tracing import Tracing, of_record

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@dataclass
class TracedBatch:
    """The spans of a batch, and the header of each user's window.

    A window that came of several traced events carries the context of the last one: the trace of
    another one ends here.
    """

    spans: list[Span] = field(default_factory=list)
    headers: dict[bytes, Headers] = field(default_factory=dict)

    def out_records(self, records: Iterable[OutRecord]) -> Iterator[OutRecord]:
        """Yield the records for ``sequences`` with their headers; a tombstone gets none."""
        for record in records:
            headers = () if record.key is None or record.value is None else self.headers.get(record.key, ())
            yield record._replace(headers=headers) if headers else record

    def end(self) -> None:
        """End the spans: the broker has the windows and the rejects."""
        ended_ns = time.time_ns()
        for span in self.spans:
            span.end(ended_ns)


def trace_batch(
    tracing: Tracing,
    records: Sequence[ConsumedRecord],
    windows: Container[bytes],
    taken_s: float,
    key_of: Callable[[ConsumedRecord], bytes | None],
) -> TracedBatch | None:
    """Begin the span of each traced event; return None where the batch has none.

    Parameters
    ----------
    windows : users whose window changed
    taken_s : when the sequencer took the batch
    key_of : gives the user key of a record, or None for a record that breaks the contract
    """
    found, begun_ns = TracedBatch(), int(taken_s * 1e9)
    for record in records:
        is_traced, parent = tracing.context(record.headers)
        if is_traced:
            attributes = of_record(record.topic, record.partition, record.offset)
            waited_ms = max(0, int(1000 * taken_s) - record.timestamp)
            span = tracing.begin("sequence", parent, begun_ns, attributes | {"headrace.waited_ms": waited_ms})
            found.spans.append(span)
            key = key_of(record)
            if key is not None and key in windows:
                found.headers[key] = tracing.headers(span)
    return found if found.spans else None


def user_key(decoder: EventDecoder) -> Callable[[ConsumedRecord], bytes | None]:
    """Return what gives a record's user key; the event names it where producers encode keys."""

    def key_of(record: ConsumedRecord) -> bytes | None:
        if decoder.keys_are_ids:
            return record.key
        try:
            return decoder.decode(record.value or b"").user_id.encode()
        except RecordError:
            return None

    return key_of
