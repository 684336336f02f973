"""Finds files that other users of the machine can read or write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_to_others(folder: Path) -> list[str]:
    """Return what other users than the owner can use in a folder, at any depth, with its mode.

    Links have no mode of their own.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if mode & 0o077 and not stat.S_ISLNK(mode):
            found.append(f"{stat.filemode(mode)} {path.relative_to(folder)}")
    return found


@contextmanager
def careless_umask() -> Iterator[None]:
    """Run a block with the umask 000, which some service managers set: it hides no file."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)
