"""The group of settings for whoever watches the workers: their log and their traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streams.settings.check import check_fields


@dataclass(frozen=True)
class WatchingSettings:
    """What the workers tell of themselves.

    Parameters
    ----------
    log_format : ``json`` writes each log record as one JSON object a line, with topic, partition,
        offset and ``event_id`` of the record that it is about; ``text`` is for people
    """

    log_format: Literal["text", "json"] = "text"

    def __post_init__(self) -> None:
        check_fields(self)
