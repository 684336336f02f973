"""Settings of the C library's heap for a process that lives long and works in arrays of ever other sizes."""

from __future__ import annotations

import ctypes
from typing import Final

#: ``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of glibc's ``malloc.h``.
MMAP_THRESHOLD: Final = -3
TRIM_THRESHOLD: Final = -1
#: From this size on memory comes from the kernel and goes back to it when it is freed.
MMAP_BYTES: Final = 1 << 20
#: Free memory at the end of a heap beyond this goes back to the kernel.
TRIM_BYTES: Final = 8 << 20


def give_memory_back() -> bool:
    """Make freed arrays leave the process; return whether the C library knows how (glibc does, others pass).

    glibc raises its own threshold to the greatest array ever freed, up to 32 MB. From then on arrays lie in its heaps among small
    objects that stay, and each burst of larger micro-batches leaves holes that no later array fits: memory grew by 10 to 20 MB a
    minute under varied load. A threshold that is set stays where it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, MMAP_BYTES)) and bool(mallopt(TRIM_THRESHOLD, TRIM_BYTES))
