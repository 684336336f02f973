"""Reads the marks of forgotten users once, for commands."""

from __future__ import annotations

from streams.contract.announcements import PrivacyRequest
from streams.contract.records import RecordDecoder
from streams.errors import RecordError, TopicError
from streams.kafka.topic_reader import read_records
from streams.settings.load import KafkaSettings


async def read_marks(kafka: KafkaSettings) -> dict[bytes, int]:
    """Return the time of each forgotten user's last request, in ms; none where there is no topic.

    Raises
    ------
    BrokerError
        When the broker does not answer.
    """
    decoder, marks = RecordDecoder(PrivacyRequest), dict[bytes, int]()
    try:
        async for record in read_records(kafka, kafka.topic("privacy")):
            if record.key is None:
                continue
            if record.value is None:
                marks.pop(record.key, None)
                continue
            try:
                marks[record.key] = decoder.decode(record.value).requested_ts
            except RecordError:
                continue  # no worker takes it
    except TopicError:
        return {}
    return marks
