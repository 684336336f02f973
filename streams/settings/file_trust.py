"""Tells whether another user could have written or replaced a file.

Headrace asks this before it trusts a secret, a setting or a process id from a file.

::

    /etc/headrace/password ─► every folder and link on the way ─► the file
                              owner: this user or root            owner: this user or root
                              nobody else writes, or sticky       nobody else writes
                                                                  private: nobody else reads

A folder that others may write is trusted only with its sticky bit (such as ``/tmp``). In such a
folder, others cannot remove or replace a file of this user or of root; a file of anybody else is
refused.

This module uses the standard library alone, so that a Python without any package can stop a broker.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

OWNER_ONLY: Final = 0o077  # the umask of headrace's processes: files 0600, folders 0700
MAX_LINKS: Final = 40  # Linux has the same limit
_ROOT: Final = 0


class Distrust(NamedTuple):
    """Why a file is not trusted: the ``problem``, without its subject, and the ``remedy``."""

    problem: str
    remedy: str


def create_private() -> None:
    """Make this process and its children create files that only their owner can open."""
    os.umask(OWNER_ONLY)


def distrust(file: str | Path, *, private: bool) -> Distrust | None:
    """Return why a file cannot be trusted, or None.

    Parameters
    ----------
    private : the file holds a secret, so others must not read it. Group members may read a file of
        root: a service without root's rights has no other way (Kubernetes ``fsGroup``, systemd,
        Docker secrets)

    Raises
    ------
    OSError
        When the file does not exist or cannot be examined.
    """
    ours = {os.geteuid(), _ROOT}
    for place, found in _way_to(Path(file)):
        if found.st_uid not in ours:
            what = "belongs" if place == Path(file).absolute() else f"is not safe: {place} on the way to it belongs"
            return Distrust(f"{what} to user {found.st_uid}", f"run chown {os.geteuid()} {place}, or name another file")
        if stat.S_ISLNK(found.st_mode):
            continue
        if stat.S_ISDIR(found.st_mode):
            if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
                return Distrust(f"can be replaced: others may write the folder {place}", f"run chmod go-w {place}")
            continue
        return _distrust_content(place, found, private)
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))


def _distrust_content(place: Path, found: os.stat_result, private: bool) -> Distrust | None:
    if not stat.S_ISREG(found.st_mode):
        return Distrust("is not a plain file", "name a plain file")
    remedy = f"run chmod {'600' if private else 'go-w'} {place}"
    if found.st_mode & 0o022:
        return Distrust("may be written by others", remedy)
    readers = 0o004 if found.st_uid != os.geteuid() else 0o044
    if private and found.st_mode & readers:
        return Distrust("may be read by others", remedy)
    return None


def _way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each folder and link from the root to a file, and then the file itself."""
    here, rest, n_links = Path("/"), list(path.absolute().parts[1:]), 0
    yield here, os.lstat(here)
    while rest:
        part = rest.pop(0)
        if part == "..":
            here = here.parent
            continue
        place = here / part
        found = os.lstat(place)
        yield place, found
        if not stat.S_ISLNK(found.st_mode):
            here = place
            continue
        n_links += 1
        if n_links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = Path(os.readlink(place))
        here = Path("/") if target.is_absolute() else here
        rest = [*(target.parts[1:] if target.is_absolute() else target.parts), *rest]
