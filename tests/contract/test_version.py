"""The project file, the installed package, ``headrace --version`` and the changelog agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tools.main import main

ROOT = Path(__file__).parent.parent.parent


def test_the_version_is_the_same_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    newest = re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}", headings[1])
    assert newest is not None and newest[1] == project
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"headrace {project}\n", "make setup brings the installed package up to date"
