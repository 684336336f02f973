"""Writes ``docs/settings.md`` and the README's ten settings from the settings' dataclasses.

Run it with ``python -m tools.project.settings_table``.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Final

from streams.settings.check import PREFIX, kinds, range_of
from streams.settings.load import (
    HealthSettings,
    KafkaSettings,
    RecommenderSettings,
    SequencerSettings,
    ServerSettings,
    WatchingSettings,
)
from tools.project.marked_text import with_part

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
DOCUMENT: Final = ROOT / "docs" / "settings.md"
#: Each group, and which programs read it.
READERS: Final[dict[type, str]] = {
    KafkaSettings: "Both apps and every command that talks to the broker read these.",
    SequencerSettings: "The sequencer reads these.",
    RecommenderSettings: "The recommender reads these.",
    HealthSettings: "The workers of both apps read these, and so does the supervisor of `headrace up`.",
    WatchingSettings: "The workers of both apps and `headrace serve` read these.",
    ServerSettings: "`headrace serve` reads these.",
}
#: The settings that the README shows: nearly every deployment chooses them.
CHOSEN: Final = (
    "broker", "topic_prefix", "partitions", "partitioner", "security_protocol", "window_max_events", "window_max_age_ms",
    "sequence_store", "artifact", "list_size",
)  # fmt: skip
#: The unit of a number, by the end of its setting's name.
UNITS: Final = {
    "_ms": "ms", "_s": "s", "_days": "days", "_bytes": "bytes", "_share": "share", "_records": "records", "_tokens": "behaviours",
    "_per_minute": "lists per minute", "_events": "events", "_recent": "events", "_seen": "items", "_batches": "batches",
    "_windows": "windows", "_candidates": "items", "list_size": "items", "reject_window": "records", "partitions": "partitions",
    "replication": "replicas", "serve_port_number": "port", "_rate_limit": "requests per second",
}  # fmt: skip
INTRODUCTION: Final = f"""# Settings

`python -m tools.project.settings_table` writes this page from the code.

Each setting is an environment variable: `{PREFIX}` and the setting's name in capitals, such as
`{PREFIX}PARTITIONS=12`. It is also a key of `headrace.toml` in the working directory, such as
`partitions = 12`. The variable wins over the file, and the option of a command wins over both. A
program that reads an unknown name, or a value that the column *value* does not allow, ends with
code 2 and one line that names the remedy."""
_PARAMETER: Final = re.compile(r"^(?P<names>[a-z_, ]+) : (?P<meaning>.+(?:\n    .+)*)", re.MULTILINE)


def meanings(group: type) -> dict[str, str]:
    """Return the meaning of each setting, by name, from the docstring of its group."""
    text = inspect.cleandoc(group.__doc__ or "")  # Python before 3.13 leaves the indent in
    text = re.sub(r"(?m)^([a-z_]+(?:,\s[a-z_]+)+)\n    ", lambda names: f"{' '.join(names[1].split())} : ", text)
    return {
        name: re.sub(r"\s+", " ", match["meaning"]).replace("``", "`")
        for match in _PARAMETER.finditer(text)
        for name in match["names"].split(", ")
    }


def document() -> str:
    """Return the text of ``docs/settings.md``: one table for each group."""
    parts = [INTRODUCTION]
    for group, readers in READERS.items():
        title = group.__name__.removesuffix("Settings")
        rows = ["| variable | default | value | unit | meaning |", "|---|---|---|---|---|"]
        told = meanings(group)
        rows += [
            f"| `{PREFIX}{one.name.upper()}` | {default_of(one)} | {range_of(kinds(group)[one.name])} | {unit_of(one)} | {told[one.name]} |"
            for one in fields(group)
        ]
        parts.append(f"## {title}\n\n{readers}\n\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def default_of(setting: Field[Any]) -> str:
    """Return the default as a cell of a table."""
    return "none" if setting.default == "" else f"`{setting.default}`"


def unit_of(setting: Field[Any]) -> str:
    """Return the unit of a number; empty for text."""
    is_number = isinstance(setting.default, int | float)
    return next((unit for end, unit in UNITS.items() if setting.name.endswith(end)), "") if is_number else ""


def chosen_table() -> str:
    """Return the README's table: name, default and meaning of the settings in :data:`CHOSEN`."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for group in READERS:
        told = meanings(group)
        rows += [
            f"| `{one.name}` | {default_of(one)} | {told[one.name]} |" for one in fields(group) if one.name in CHOSEN
        ]
    return "\n".join(rows)


def with_table(readme: str) -> str:
    """Return the README's text with the table between its two marks."""
    return with_part(readme, "settings", chosen_table())


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")
    DOCUMENT.write_text(document(), "utf-8")
