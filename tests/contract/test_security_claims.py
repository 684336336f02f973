"""Every claim of SECURITY.md is a row of a table that names a test which tries to break it."""

from __future__ import annotations

import ast
import datetime
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "SECURITY.md"
HEADER = "| attacker | claim | tests that hold it | since |"
_TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


class Claim(NamedTuple):
    """A row of the table: who is kept from what, by which tests (file, name), since when."""

    attacker: str
    text: str
    tests: tuple[tuple[str, str], ...]
    since: str


def claims_of(document: str) -> list[Claim]:
    """Return the rows of the table of claims."""
    lines = document.split("\n")
    rows = lines[lines.index(HEADER) + 2 :]
    found = []
    for row in rows[: next((i for i, row in enumerate(rows) if not row.startswith("|")), len(rows))]:
        attacker, text, tests, since = (cell.strip() for cell in row.strip("|").split("|"))
        found.append(Claim(attacker, text, tuple(_TEST.findall(tests)), since))
    return found


CLAIMS = claims_of(DOCUMENT.read_text("utf-8"))


def defined_in(path: str) -> set[str]:
    """Return the test functions that a file defines and does not skip for good."""
    file = ROOT / path
    tree = ast.parse(file.read_text("utf-8")) if file.is_file() else ast.Module([], [])
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any(re.match(r"pytest\.mark\.(skip|xfail)\b(?!if)", ast.unparse(mark)) for mark in node.decorator_list)
    }


def test_there_are_claims() -> None:
    assert len(CLAIMS) > 30 and len({claim.text for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text[:50])
def test_a_claim_names_a_test_and_a_day(claim: Claim) -> None:
    assert claim.attacker and claim.text and claim.tests
    assert datetime.date(2026, 11, 1) <= datetime.date.fromisoformat(claim.since) <= datetime.date.today()  # noqa: DTZ011


@pytest.mark.parametrize("path", sorted({path for claim in CLAIMS for path, _ in claim.tests}))
def test_the_named_tests_are_there(path: str) -> None:
    named = {name for claim in CLAIMS for file, name in claim.tests if file == path}
    assert named - defined_in(path) == set()


@pytest.mark.long
@pytest.mark.model
def test_the_named_tests_are_collected() -> None:
    """Pytest collects each test that the claims name.

    A test's name in a file proves nothing: the file may fail to import, a fixture or a class may
    hide the test.
    """
    names = sorted({f"{path}::{name}" for claim in CLAIMS for path, name in claim.tests})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2_000:]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("| who | says so | | 2026-11-29 |", "no test"),
        (
            "| who | says so | `tests/unit/streams/settings/test_secrets.py::test_no_such_test` | 2026-11-29 |",
            "no such test",
        ),
        ("| who | says so | `tests/unit/test_no_such_file.py::test_x` | 2026-11-29 |", "no such file"),
    ],
)
def test_a_claim_without_a_test_is_found(row: str, fault: str) -> None:
    (claim,) = claims_of(f"{HEADER}\n|---|---|---|---|\n{row}\n")
    assert not claim.tests or claim.tests[0][1] not in defined_in(claim.tests[0][0]), fault


def test_a_test_that_is_skipped_for_good_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    marks = (
        "",
        "@pytest.mark.skip(reason='x')\n",
        "@pytest.mark.xfail\n",
        "@pytest.mark.skipif(not found, reason='x')\n",
    )
    (tmp_path / "t.py").write_text("".join(f"{mark}def test_{i}(): ...\n" for i, mark in enumerate(marks)))
    assert defined_in("t.py") == {"test_0", "test_3"}
