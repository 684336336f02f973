"""The README agrees with the code."""

from __future__ import annotations

from tools.main import COMMANDS
from tools.project.settings_table import README


def test_every_command_is_in_the_readme_or_the_changelog() -> None:
    """Nobody finds a command that no document names."""
    text = README.read_text("utf-8") + (README.parent / "CHANGELOG.md").read_text("utf-8")
    assert [command for command in COMMANDS if command not in text] == []
