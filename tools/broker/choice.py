"""Whether and how a person named a broker, and a progress bar for the start of a local one."""

from __future__ import annotations

import os
from typing import Any

from streams.settings.load import KafkaSettings, load_settings
from tools.broker.kafka_jars import Progress


def names_broker(option: str | None) -> bool:
    """Return whether a person named a broker: by option, by variable or in ``headrace.toml``."""
    return naming(option) is not None


def naming(option: str | None) -> tuple[str, str] | None:
    """Return how a person named a broker, and how to take that back; None where nobody did."""
    if option:
        return f"--broker {option}", "leave --broker out"
    variable = os.environ.get("HEADRACE_BROKER")
    if variable:
        return f"HEADRACE_BROKER={variable}", "unset HEADRACE_BROKER"
    broker = load_settings().kafka.broker
    if broker != KafkaSettings().broker:
        return f"broker={broker} in headrace.toml", "take that line out"
    return None


def on_bar(bar: Any) -> Progress:
    """Return a progress callback that draws on a rich bar, with a task for each description."""
    tasks: dict[str, Any] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    return show
