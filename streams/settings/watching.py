"""The group of settings for whoever watches the workers: their log and their traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from streams.settings.check import check_fields
from streams.settings.urls import check_url


@dataclass(frozen=True)
class WatchingSettings:
    """What the workers tell of themselves.

    Parameters
    ----------
    log_format : ``json`` writes each log record as one JSON object a line, with topic, partition,
        offset and ``event_id`` of the record that it is about; ``text`` is for people
    traces_endpoint : where an OpenTelemetry collector takes traces, OTLP over HTTP, such as
        ``http://127.0.0.1:4318/v1/traces``; needs ``headrace[traces]``. Empty means no traces,
        which then cost nothing
    traces_share : of the events without a header ``traceparent``, how many begin a trace; the
        header of the others says whether they are traced
    """

    log_format: Literal["text", "json"] = "text"
    traces_endpoint: str = ""
    traces_share: Annotated[float, Meta(ge=0, le=1)] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.traces_endpoint:
            check_url("traces_endpoint", self.traces_endpoint, "OTEL_EXPORTER_OTLP_HEADERS", has_secret=False)
