"""A vulnerable package fails the check; a source that does not answer is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.project.advisories import main

GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1", "3"], "aliases": []}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def fake_pip_audit(folder: Path, answers: dict[str, list[Any] | None]) -> str:
    """Write a program that answers like pip-audit; for None it fails, as without a network."""
    for source, found in answers.items():
        text = "Traceback: no network" if found is None else json.dumps({"dependencies": found, "fixes": []})
        (folder / source).write_text(text)
    program = folder / "pip-audit"
    program.write_text(f'#!/bin/sh\nfor a in "$@"; do [ -f "{folder}/$a" ] && cat "{folder}/$a"; done\nexit 1\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("answers", "code", "told"),
    [
        ({"pypi": [GOOD]}, 0, ["advisories: 1 packages looked up at pypi, 0 of them vulnerable"]),
        (
            {"pypi": [GOOD, BAD, UNKNOWN]},
            1,
            [
                "VULNERABLE: b 2: PYSEC-1; corrected in 2.1, 3",
                "not looked up, because pypi does not know them: c",
                "advisories: 2 packages looked up at pypi, 1 of them vulnerable",
            ],
        ),
        ({"pypi": [UNKNOWN], "osv": [BAD]}, 1, ["VULNERABLE: b 2: PYSEC-1; corrected in 2.1, 3", "advisories: 1 "]),
        ({"pypi": None, "osv": [GOOD]}, 0, ["advisories: 1 packages looked up at osv, 0 of them vulnerable"]),
        ({"pypi": [UNKNOWN], "osv": None}, 0, ["SKIPPED: advisories: neither pypi nor osv answers from here"]),
        ({"pypi": None, "osv": None}, 0, ["SKIPPED: advisories: neither pypi nor osv answers from here"]),
    ],
)
def test_each_answer_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: dict[str, Any], code: int, told: list[str]
) -> None:
    """A run without an answer passes and says so; pip-audit calls it 'no known vulnerabilities'."""
    assert main([fake_pip_audit(tmp_path, answers)]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(told) and all(line.startswith(begin) for line, begin in zip(lines, told, strict=True))
