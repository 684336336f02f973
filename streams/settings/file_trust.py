"""Whether others than we and root could have put something into a file: asked before a secret, a setting or a process id is believed.

::

    /etc/headrace/password ─► every folder and link on the way ─► the file
                              owner: us or root                   owner: us or root, nobody else writes
                              nobody else writes, or sticky       private: nobody else reads

A folder that others may write is taken only with its sticky bit (such as ``/tmp``): there, nobody can remove or replace what belongs to us
or to root, and what belongs to anybody else is refused.

Standard library only, so that a broker can be stopped by a Python that has none of the packages.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

OWNER_ONLY: Final = 0o077  # the umask of every process of ours: files 0600, folders 0700
MAX_LINKS: Final = 40  # as Linux has it
_ROOT: Final = 0


class Distrust(NamedTuple):
    """Why a file is not believed: ``problem`` has the file as its subject, ``remedy`` is what to do."""

    problem: str
    remedy: str


def create_private() -> None:
    """Make this process, and those that it starts, create files that only their owner can read and folders that only they can enter."""
    os.umask(OWNER_ONLY)


def distrust(file: str | Path, *, private: bool) -> Distrust | None:
    """Return why a file is not to be believed, or None.

    Parameters
    ----------
    private : the file holds a secret: others must not read it. Group members may where the file is root's, since a service
        without root's rights can read it in no other way (Kubernetes ``fsGroup``, systemd, Docker secrets)

    Raises
    ------
    OSError
        When the file is not there, or it cannot be looked at.
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
    """Yield each folder and link from the root to a file, and the file last, links followed one by one."""
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
