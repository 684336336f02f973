"""A record that broke the contract, as it goes to ``events.rejected``."""

from __future__ import annotations

from typing import NamedTuple

from streams.contract.kafka_records import ConsumedRecord, OutRecord
from streams.contract.kept_headers import kept_headers
from streams.contract.reject_size import kept
from streams.errors import RecordError


class Reject(NamedTuple):
    """A record that broke the contract, and how."""

    record: ConsumedRecord
    error: RecordError

    def as_record(self) -> OutRecord:
        """Return the record for ``events.rejected``: the original key and value.

        Its headers give reason and place, then the record's own headers. A record that does not fit
        is cut, and its headers say so: see :mod:`streams.contract.reject_size`.
        """
        source = self.record
        headers = {
            "reason": self.error.reason,
            "field": self.error.field,
            "detail": self.error.detail[:500],
            "topic": source.topic,
            "partition": str(source.partition),
            "offset": str(source.offset),
            "ts": str(source.timestamp),
        }
        ours = [(name, text.encode()) for name, text in headers.items()]
        key, value, of_size = kept(source.key, source.value)
        return OutRecord(key, value, ours + of_size + kept_headers(source.headers))
