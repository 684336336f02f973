"""Writes the settings table of the README from the settings' dataclasses: ``python -m tools.project.settings_table``."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

from streams.settings.load import HealthSettings, KafkaSettings, RecommenderSettings, SequencerSettings

README = Path(__file__).parents[2] / "README.md"
_PARAMETER = re.compile(r"^(?P<names>[a-z_, ]+) : (?P<meaning>.+(?:\n    .+)*)", re.MULTILINE)


def settings_table() -> str:
    """Return the table in Markdown: name, default, meaning."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for group in (KafkaSettings, SequencerSettings, RecommenderSettings, HealthSettings):
        meanings: dict[str, str] = {}
        # Python 3.13 takes the indent out of docstrings, older ones leave it in.
        text = re.sub(r"(?m)^((?:[a-z_]+, )+[a-z_]+)\n    ", r"\1 : ", inspect.cleandoc(group.__doc__ or ""))
        for match in _PARAMETER.finditer(text):
            for name in match["names"].split(", "):
                meanings[name] = re.sub(r"\s+", " ", match["meaning"])
        for f in fields(group):
            default = f"`{f.default}`" if f.default != "" else "none"
            rows.append(f"| `{f.name}` | {default} | {meanings[f.name]} |")
    return "\n".join(rows)


def with_table(readme: str) -> str:
    """Return the README's text with the table between its two marks."""
    start, end = "<!-- settings -->", "<!-- end of settings -->"
    before, rest = readme.split(start)
    return f"{before}{start}\n{settings_table()}\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")
