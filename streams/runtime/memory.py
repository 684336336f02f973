"""Returns memory to the system in a long-running process that allocates arrays of many sizes.

glibc raises its mmap threshold to the size of the largest array ever freed, up to 32 MB. From then
on it places arrays in its heaps, between small objects that stay. Each burst of larger
micro-batches leaves holes that no later array fits: memory grew by 10 to 20 MB a minute under
varied load. Low fixed thresholds help as well, but cost a recommender a fifth of its speed, because
each array then needs new pages from the kernel.

Trimming does not reach the heaps of other threads: 16 MB stayed in a sequencer, whose consumer runs
on a thread. Therefore all threads share one heap. Most of their work holds the GIL anyway.

Python's cycle collector looks at all objects only when their number has grown by a quarter. In a
sequencer that takes minutes, and with PyTorch loaded one collection takes 0.2 s. aiokafka's clients
are cycles that hold the records they fetched: a take-over left 17 MB behind.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from typing import Any, Final

#: How often the holes in the heap go back to the kernel; it takes a few milliseconds.
TRIM_EVERY_S: Final = 10.0
M_ARENA_MAX: Final = -8  # of glibc's malloc.h


def keep_for_good() -> None:
    """Exclude all present objects from garbage collection.

    A collection then takes milliseconds.
    """
    gc.collect()
    gc.freeze()


def give_memory_back() -> bool:
    """Make freed memory leave the process from now on; return False if the C library is not glibc.

    Call it before the process has threads: heaps that they have already would stay.
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
        library.malloc_trim(0)  # ctypes releases the GIL: other threads go on
