"""Whether a person named a broker, and a progress bar for the start of a local one."""

from __future__ import annotations

import os
from typing import Any

from streams.settings.load import KafkaSettings, load_settings
from tools.broker.kafka_jars import Progress


def names_broker(option: str | None) -> bool:
    """Return whether a person named a broker: by option, by variable or in ``headrace.toml``."""
    named = option or os.environ.get("HEADRACE_BROKER")
    return bool(named) or load_settings().kafka.broker != KafkaSettings().broker


def on_bar(bar: Any) -> Progress:
    """Return a progress callback that draws on a rich bar, with a task for each description."""
    tasks: dict[str, Any] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    return show
