"""The C library's heap of a process that lives long and works in arrays of ever other sizes.

glibc raises its mmap threshold to the greatest array ever freed, up to 32 MB. From then on arrays lie in its heaps among small objects
that stay, and each burst of larger micro-batches leaves holes that no later array fits: memory grew by 10 to 20 MB a minute under varied
load. Low fixed thresholds help as well, but cost a recommender a fifth of its speed: each array is then fresh pages from the kernel.
"""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Any, Final

#: How often the holes between what is in use go back to the kernel; it takes a few milliseconds.
TRIM_EVERY_S: Final = 10.0


def give_memory_back() -> bool:
    """Make freed memory leave the process from now on; return whether the C library knows how (glibc does, others pass)."""
    library: Any = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        return False
    threading.Thread(target=_trim, args=(library,), name="trim-heap", daemon=True).start()
    return True


def _trim(library: Any) -> None:
    while True:
        time.sleep(TRIM_EVERY_S)
        library.malloc_trim(0)  # other threads go on meanwhile: a call through ctypes does not hold the GIL
