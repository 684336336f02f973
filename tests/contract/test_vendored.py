"""The page's JavaScript libraries are those of the locked npm packages, with their licences."""

from __future__ import annotations

import json

from tools.project.licences import DOCUMENT
from tools.project.vendor import FILES, LOCK_FOLDER, RECORD, TARGET, locked, record


def test_each_vendored_file_is_what_the_record_says() -> None:
    """A changed file, or a package that was raised without ``make vendor``, is seen."""
    assert json.loads((TARGET / RECORD).read_text("utf-8")) == record(TARGET)
    assert {path.name for path in TARGET.iterdir()} == {one.name for one in FILES} | {RECORD}


def test_each_package_is_locked_by_its_sha512_and_brings_its_licence() -> None:
    """A package with other content is refused by npm."""
    packages = locked()
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    wanted = json.loads((LOCK_FOLDER / "package.json").read_text("utf-8"))["dependencies"]
    assert {name: packages[name]["version"] for name in wanted} == wanted
    assert packages.keys() == {one.package for one in FILES if "LICENSE" in one.source}


def test_the_table_of_licences_lists_them() -> None:
    """tools.project.licences writes it."""
    text = DOCUMENT.read_text("utf-8")
    rows = {f"| {one['package']} | {one['version']} | {one['licence']} |" for one in record(TARGET)}
    assert [row for row in sorted(rows) if row not in text] == []
