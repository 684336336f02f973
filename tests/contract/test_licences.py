"""The table of licences lists the locked packages."""

from __future__ import annotations

from importlib.metadata import metadata

import pytest

from tools.project.licences import COPYLEFT, DOCUMENT, PYTHON, UNKNOWN, licence_of, table
from tools.project.packages import LOCK_FILE, locked_versions


def test_every_locked_package_is_in_the_table_with_its_version() -> None:
    """tools.project.licences writes the table, from the packages that are installed."""
    text = DOCUMENT.read_text("utf-8")
    pins = locked_versions(LOCK_FILE, PYTHON)
    assert pins and [name for name, version in pins.items() if f"| {name} | {version} |" not in text] == []


@pytest.mark.parametrize(
    ("licence", "is_copyleft"), [("GPL-3.0-only", True), ("MPL-2.0", True), ("MIT", False), ("BSD", False)]
)
def test_copyleft_is_marked(licence: str, is_copyleft: bool) -> None:
    """A copyleft licence, which has conditions, must be seen."""
    assert ("yes" in table([("a", "1", licence)])) is is_copyleft
    assert bool(COPYLEFT.search(licence)) is is_copyleft


def test_a_licence_is_read_from_a_real_package() -> None:
    """An installed package declares its licence."""
    assert licence_of(metadata("msgspec")) != UNKNOWN
