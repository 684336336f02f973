"""Finds the envelope of Kafka Connect or Debezium around records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.formats.envelopes import EnvelopeError, open_payload, unwrap


def opened(records: Sequence[Mapping[str, Any]]) -> tuple[str, list[Mapping[str, Any]]]:
    """Return the envelope around records, and the rows in it.

    Without an envelope the name is empty and there are no rows.
    """
    for envelope in ("debezium", "connect"):
        if envelope == "connect" and not all(open_payload(record)[1] is not record for record in records):
            continue
        try:
            changes = [unwrap(record, envelope) for record in records]
        except EnvelopeError:
            continue
        rows = [change.row for change in changes if change.row is not None and change.op in "cru"]
        if rows:
            return envelope, rows
    return "", []
