"""Shows on the disk which folder a running process has loaded: a shared lock on the folder itself.

The lock ends with the process, however that ends, so no mark stays behind. It needs no right to
write. Where a file system has no such locks, a folder counts as not loaded.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def mark_served(folder: Path) -> Callable[[], None]:
    """Hold the shared lock of a folder until this process ends; the result gives it up before."""
    try:
        descriptor = _opened(folder)
    except OSError:
        return lambda: None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return lambda: os.close(descriptor)


def is_served(folder: Path) -> bool:
    """Return whether a running process, this one included, has loaded a folder."""
    try:
        descriptor = _opened(folder)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
