"""The example documents can be used, and say what their scenario needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.rules.row_rules import Rules

FOLDER = Path(__file__).parents[4] / "docs" / "examples" / "rules"


@pytest.mark.parametrize("name", ["shop", "social", "media"])
def test_an_example_can_be_put_as_it_is(name: str) -> None:
    rules = Rules.of((FOLDER / f"{name}.toml").read_text("utf-8"), 10)
    assert rules.repeats is not None and rules.document.caps and rules.document.boosts


def test_every_example_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == ["media", "shop", "social"]
