"""The packages that headrace requires, and the versions that its lock file pins."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK_FILE = Path(__file__).resolve().parents[2] / "requirements.lock"


def locked_versions(lock: Path, python: str | None = None) -> dict[str, str]:
    """Return the version of each package that a lock file pins; nothing if there is no such file.

    Parameters
    ----------
    lock : the lock file
    python : version of Python, such as ``3.11``, that the pins are for; None means the running one
    """
    environment = None if python is None else {"python_version": python, "python_full_version": f"{python}.0"}
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    lines = re.findall(r"^([A-Za-z0-9][^\\\n]*==[^\\\n]*)", text, re.MULTILINE)
    pins = [Requirement(line) for line in lines]
    valid = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in valid}


def direct_dependencies() -> list[str]:
    """Return the names of the packages that headrace requires without its extras."""
    required = [Requirement(line) for line in importlib.metadata.requires("headrace") or []]
    return [r.name for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
