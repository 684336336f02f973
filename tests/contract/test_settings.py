"""The pages about settings agree with the code."""

from __future__ import annotations

import inspect

import pytest

from streams.settings.load import Settings
from tools.project.settings_table import CHOSEN, DOCUMENT, READERS, README, document, with_table


def test_the_page_of_settings_is_that_of_the_code() -> None:
    """``tools.project.settings_table`` writes the page from the dataclasses.

    The dataclasses hold names, defaults and ranges.
    """
    assert DOCUMENT.read_text("utf-8") == document()


def test_the_readme_shows_the_chosen_settings_as_the_code_has_them() -> None:
    """The README's table is short, and it is generated too."""
    text = README.read_text("utf-8")
    assert with_table(text) == text
    assert [name for name in CHOSEN if f"| `{name}` |" not in text] == []


def test_every_setting_has_a_row() -> None:
    """Nobody finds a setting that no page names."""
    text = document()
    assert [name for name in Settings().shown() if f"| `HEADRACE_{name.upper()}` |" not in text] == []


def test_every_number_has_a_unit() -> None:
    """A number without a unit is a guess."""
    cells = [row.split(" | ") for row in document().splitlines() if row.startswith("| `HEADRACE_")]
    numbers = [cell for cell in cells if cell[1].strip("`").replace(".", "", 1).isdigit()]
    assert len(numbers) > 20 and [cell[0] for cell in numbers if not cell[3]] == []


def test_the_page_is_the_same_without_the_indent_of_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 and newer compile docstrings in this way."""
    text = document()
    for group in READERS:
        monkeypatch.setattr(group, "__doc__", inspect.cleandoc(group.__doc__ or ""))
    assert document() == text
