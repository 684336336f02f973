"""Puts the page's JavaScript libraries beside it, from the locked npm packages.

Run it with ``make vendor``, which needs npm and the network. npm checks the SHA-512 of each package
against ``npm/package-lock.json``. The copied files are committed: users of headrace need no npm.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
LOCK_FOLDER: Final = Path(__file__).parent / "npm"
TARGET: Final = ROOT / "streams" / "server" / "page" / "static" / "vendor"
#: Names each vendored file, with its SHA-512, its package, version and licence.
RECORD: Final = "vendored.json"


class Vendored(NamedTuple):
    """One file of a package, and the name it gets here."""

    package: str
    source: str
    name: str


FILES: Final = (
    Vendored("htmx.org", "dist/htmx.min.js", "htmx.min.js"),
    Vendored("htmx.org", "LICENSE", "htmx.LICENSE.txt"),
    Vendored("echarts", "dist/echarts.common.min.js", "echarts.common.min.js"),
    Vendored("echarts", "LICENSE", "echarts.LICENSE.txt"),
    Vendored("echarts", "NOTICE", "echarts.NOTICE.txt"),
    # the file of ECharts contains these two
    Vendored("zrender", "LICENSE", "zrender.LICENSE.txt"),
    Vendored("tslib", "LICENSE.txt", "tslib.LICENSE.txt"),
)


def locked() -> dict[str, dict[str, str]]:
    """Return version, integrity and licence of each locked npm package."""
    lock = json.loads((LOCK_FOLDER / "package-lock.json").read_text("utf-8"))
    return {name.removeprefix("node_modules/"): entry for name, entry in lock["packages"].items() if name}


def digest(data: bytes) -> str:
    """Return the SHA-512 of a file, as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def record(folder: Path) -> list[dict[str, str]]:
    """Return what the record says of the files in a folder."""
    packages = locked()
    return [
        {
            "file": one.name,
            "package": one.package,
            "version": packages[one.package]["version"],
            "licence": packages[one.package]["license"],
            "integrity": digest((folder / one.name).read_bytes()),
        }
        for one in FILES
    ]


def vendor() -> None:
    """Install the locked packages into a folder that goes away, and copy their files."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(LOCK_FOLDER / name, folder)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)
        TARGET.mkdir(parents=True, exist_ok=True)
        for one in FILES:
            shutil.copyfile(Path(folder) / "node_modules" / one.package / one.source, TARGET / one.name)
    (TARGET / RECORD).write_text(json.dumps(record(TARGET), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    vendor()
