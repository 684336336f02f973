"""``headrace rules check``: what a person is told of a document, without a broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.rules.document import version_of
from tools.main import main


def test_a_good_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, text = tmp_path / "rules.toml", "deny = ['a']\nallow = ['b']\n"
    path.write_text(text)
    assert main(["rules", "check", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == version_of(text) and found["rules"] == {"deny": ["a"], "allow": ["b"]}
    assert found["warnings"] == ["allow has 1 items and a list has 10: every list will be short"]
    assert main(["rules", "check", str(path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{path}: rules {version_of(text)}: deny 1, allow 1\n"
    assert "warning: allow has 1 items" in shown.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"deny = ['a']\n[filters]\nprice_min = -1\n", "rules.toml, line 3: filters.price_min: -1.0; must be"),
        (b"[[pins]]\nitem = 'a'\nplace = 11\n", "line 3: pins[1].place: 11; must be between 1 and the list's size, 10"),
        (b"deny = ['\xff']\n", "rules.toml: byte 10 is not UTF-8; save the file as UTF-8"),
        (b"# " + b"x" * 70_000, "bytes, limit 60000"),
    ],
)
def test_a_wrong_document_ends_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, told: str
) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(content)
    assert main(["rules", "check", str(path)]) == 2
    shown = capsys.readouterr()
    assert told in shown.err and shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1


def test_no_file_and_a_name_that_no_deployment_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "check", str(tmp_path / "none.toml")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["rules", "check", "x", "--scenario", "a@previous"]) == 2
    assert "scenario" in capsys.readouterr().err
