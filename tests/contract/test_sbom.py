"""The bill of materials names everything that is pinned, with the hashes that pin it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from tools.broker.kafka_jars import KAFKA_VERSION, pins
from tools.project import vendor
from tools.project.licences import DOCUMENT
from tools.project.packages import LOCK_FILE, locked_versions
from tools.project.sbom import WEIGHTS, Weights, locked, main


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    """Give the document; written twice, it has the same bytes."""
    first, second = tmp_path / "new" / "1.json", tmp_path / "2.json"
    assert main([str(first)]) == main([str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    document: dict[str, Any] = json.loads(first.read_text())
    return document


def test_everything_pinned_is_a_component_with_its_hashes(found: dict[str, Any]) -> None:
    """It has packages of every platform and of npm, the installer, jars, image and weights."""
    by_ref = {one["bom-ref"]: one for one in found["components"]}
    assert len(by_ref) == len(found["components"]), "no two with one reference"
    wanted = {f"pkg:pypi/{name}@{version}": hashes for name, version, hashes in locked(LOCK_FILE)}
    wanted |= {f"pkg:maven/{g}/{a}@{v}": [sha] for jar, sha in pins() for g, a, v in [jar.split(":")]}
    wanted |= {f"weights:{one.package}/{one.file}": [one.sha256] for one in WEIGHTS}
    for reference, hashes in wanted.items():
        assert [one["content"] for one in by_ref[reference]["hashes"]] == hashes
    assert {name for name, _, _ in locked(LOCK_FILE)} >= locked_versions(LOCK_FILE, "3.11").keys()
    rest = by_ref.keys() - wanted.keys()
    npm = {f"pkg:npm/{name}@{entry['version']}" for name, entry in vendor.locked().items()}
    assert npm < rest
    assert {name.rpartition("@")[0] for name in rest - npm} == {"pkg:pypi/uv", "pkg:docker/apache/kafka"}
    assert f"pkg:docker/apache/kafka@{KAFKA_VERSION}" in rest
    assert all(
        re.fullmatch("[0-9a-f]{64}|[0-9a-f]{128}", h["content"]) for one in by_ref.values() for h in one["hashes"]
    )
    assert all(one["hashes"] for one in by_ref.values())


def test_it_has_the_form_of_cyclonedx(found: dict[str, Any]) -> None:
    """The parts in use have the fields that CycloneDX's schema requires."""
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert found["metadata"]["component"]["name"] == "headrace"
    kinds = {"library", "container", "machine-learning-model"}
    assert all(one["type"] in kinds and one["name"] for one in found["components"])
    for licence in [x for one in found["components"] for x in one.get("licenses", [])]:
        assert licence.keys() in ({"expression"}, {"license"})
    assert found["dependencies"][0]["dependsOn"] == [one["bom-ref"] for one in found["components"]]


@pytest.mark.parametrize("one", WEIGHTS, ids=lambda one: one.file)
def test_the_weights_in_the_wheels_are_those_that_are_named(one: Weights) -> None:
    """A wheel with other weights is noticed, and its record is true of its file."""
    (recorded,) = [file.hash for file in distribution(one.package).files or [] if str(file) == one.file]
    assert recorded is not None and recorded.mode == "sha256"
    assert base64.urlsafe_b64decode(recorded.value + "=").hex() == one.sha256
    content = Path(str(distribution(one.package).locate_file(one.file))).read_bytes()
    assert hashlib.sha256(content).hexdigest() == one.sha256


def test_the_table_of_weights_is_in_the_document() -> None:
    """Its row has package, licence and hash."""
    text = DOCUMENT.read_text("utf-8")
    rows = [f"| `{w.package}` | `{w.file}` | {w.model} | {w.licence} | {w.origin} | `{w.sha256}` |" for w in WEIGHTS]
    assert [row for row in rows if row not in text] == []
