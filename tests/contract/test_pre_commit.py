"""The hooks before a commit run what ``make check`` runs, in the same order, and fetch nothing."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent.parent


def commands_of_check() -> list[str]:
    """Return the recipe of the Makefile's target ``check``."""
    recipe = re.search(r"^check:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe is not None
    return [line.strip().lstrip("@").replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]


def test_the_hooks_are_make_check() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [each["repo"] for each in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert [hook["entry"] for hook in hooks] == commands_of_check()
    assert all(hook["language"] == "system" and not hook["pass_filenames"] and hook["always_run"] for hook in hooks)
