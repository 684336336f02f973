"""The README holds to the code."""

from __future__ import annotations

import inspect

import pytest

from streams.settings.load import HealthSettings, KafkaSettings, RecommenderSettings, SequencerSettings
from tools.main import COMMANDS
from tools.project.settings_table import README, settings_table, with_table


def test_settings_table_is_that_of_the_code() -> None:
    """Names and defaults in the README are the dataclasses'; write it anew with python -m tools.project.settings_table."""
    text = README.read_text("utf-8")
    assert with_table(text) == text


def test_the_table_is_the_same_without_the_indent_of_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python 3.13 and newer compile them."""
    table = settings_table()
    for group in (KafkaSettings, SequencerSettings, RecommenderSettings, HealthSettings):
        monkeypatch.setattr(group, "__doc__", inspect.cleandoc(group.__doc__ or ""))
    assert settings_table() == table


def test_every_command_is_in_the_readme_or_the_changelog() -> None:
    """A command that nobody can find does not exist."""
    text = README.read_text("utf-8") + (README.parent / "CHANGELOG.md").read_text("utf-8")
    assert [command for command in COMMANDS if command not in text] == []
