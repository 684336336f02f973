"""The C library's heap of a process that lives long and works in arrays of ever other sizes.

glibc raises its mmap threshold to the greatest array ever freed, up to 32 MB. From then on arrays lie in its heaps among small objects
that stay, and each burst of larger micro-batches leaves holes that no later array fits: memory grew by 10 to 20 MB a minute under varied
load. Low fixed thresholds help as well, but cost a recommender a fifth of its speed: each array is then fresh pages from the kernel.

Nor does trimming reach the end of the heaps that threads have of their own: 16 MB stayed in a sequencer, whose consumer runs on a thread.
Therefore all threads share one heap; most of what they do holds the GIL anyway.

Python's collector of cycles looks at all objects only when their number has grown by a quarter: in a sequencer minutes pass, and where
PyTorch is loaded it takes 0.2 s. aiokafka's clients are cycles that hold what they have fetched: a take-over left 17 MB behind.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from typing import Any, Final

#: How often the holes between what is in use go back to the kernel; it takes a few milliseconds.
TRIM_EVERY_S: Final = 10.0
M_ARENA_MAX: Final = -8  # of glibc's malloc.h


def keep_for_good() -> None:
    """Take all that lives now for permanent: collecting what comes later no longer looks at it, and costs milliseconds."""
    gc.collect()
    gc.freeze()


def give_memory_back() -> bool:
    """Make freed memory leave the process from now on; return whether the C library knows how (glibc does, others pass).

    Comes before the process has threads: heaps that they have already stay.
    """
    library: Any = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        return False
    library.mallopt(M_ARENA_MAX, 1)
    threading.Thread(target=_trim, args=(library,), name="trim-heap", daemon=True).start()
    return True


def _trim(library: Any) -> None:
    while True:
        time.sleep(TRIM_EVERY_S)
        library.malloc_trim(0)  # other threads go on meanwhile: a call through ctypes does not hold the GIL
