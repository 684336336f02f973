"""Writes the table of packages and licences in ``docs/security.md``.

Run it with ``python -m tools.project.licences``.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tools.project import vendor
from tools.project.marked_text import with_part
from tools.project.packages import LOCK_FILE, locked_versions

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "security.md"
#: The oldest Python that is supported, so that the table is the same on every Python.
PYTHON: Final = "3.11"
MAX_LENGTH: Final = 60
COPYLEFT: Final = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL)|GNU|Mozilla|Eclipse", re.IGNORECASE)
UNKNOWN: Final = "not declared"


def licence_of(fields: importlib.metadata.PackageMetadata) -> str:
    """Return the licence that a package declares.

    It is the licence expression, else the classifiers, else the first line of the licence field.
    """
    expression = next(iter(fields.get_all("License-Expression") or []), "")
    if expression:
        return str(expression)
    classifiers = [c.rpartition(" :: ")[2] for c in fields.get_all("Classifier") or [] if c.startswith("License ::")]
    named = [name for name in classifiers if name != "OSI Approved"]
    text = str(next(iter(fields.get_all("License") or []), "")).strip()
    first = text.splitlines()[0] if text else UNKNOWN
    return ", ".join(named) or (first if len(first) <= MAX_LENGTH else "its own text")


def rows(pins: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return name, version and licence of each locked package that is installed here."""
    found = []
    for name, version in sorted(pins):
        try:
            fields = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            found.append((name, version, "not installed here"))
            continue
        found.append((name, version, licence_of(fields)))
    return found


def table(found: Iterable[tuple[str, str, str]]) -> str:
    """Return the table in Markdown, with a mark at each copyleft licence."""
    lines = ["| package | version | licence | copyleft |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {version} | {licence.replace('|', '/')} | {'yes' if COPYLEFT.search(licence) else ''} |"
        for name, version, licence in found
    ]
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Return the document's text with the two tables, each between its marks."""
    npm = [(name, entry["version"], entry["license"]) for name, entry in sorted(vendor.locked().items())]
    text = with_part(text, "npm licences", table(npm))
    return with_part(text, "licences", table(rows(locked_versions(LOCK_FILE, PYTHON).items())))


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text("utf-8")), "utf-8")
