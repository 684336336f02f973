"""What is freed leaves the process, whatever was freed before and whatever lies between."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import weakref

import pytest

from streams.runtime.memory import keep_for_good

PROGRAM = """
import sys
import threading
import time
import numpy as np
from streams.runtime import memory as heap

heap.TRIM_EVERY_S = 0.2

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def between_what_stays():
    kept = [np.ones(50_000, dtype=np.uint8) for _ in range(400)]  # fill what holes the imports left
    before = rss()
    freed = []
    for _ in range(20):
        freed.append(np.ones(4 << 20, dtype=np.uint8))
        kept.append(np.ones(50_000, dtype=np.uint8))  # stays, and holds the heap up
    del freed
    time.sleep(1.0)
    print(rss() - before)

def on_a_thread():
    time.sleep(1.0)
    before = rss()
    freed = [np.ones(100_000, dtype=np.uint8) for _ in range(400)]
    del freed
    time.sleep(1.0)
    print(rss() - before)

if sys.argv[1] == "set":
    assert heap.give_memory_back()
for _ in range(3):
    np.ones(30 << 20, dtype=np.uint8)  # raises the thresholds that glibc sets for itself
thread = threading.Thread(target=globals()[sys.argv[2]])
thread.start() if sys.argv[2] == "on_a_thread" else thread.run()
"""


@pytest.mark.model
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
@pytest.mark.parametrize(("where", "least"), [("between_what_stays", 40_000_000), ("on_a_thread", 20_000_000)])
def test_freed_arrays_leave_the_process(where: str, least: int) -> None:
    """The process frees 80 MB, and 40 MB at the end of a thread's heap.

    The default heap keeps most of them.
    """

    def kept_bytes(how: str) -> int:
        argv = [sys.executable, "-c", PROGRAM, how, where]
        return int(subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout)

    assert kept_bytes("set") < 10_000_000 < least < kept_bytes("as-it-comes")


class Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_the_collector_no_longer_looks_at_what_was_there_and_still_finds_what_comes() -> None:
    """Garbage of before is collected first: kept for good it would stay for good."""
    try:
        before = weakref.ref(Cycle())
        keep_for_good()
        assert before() is None
        assert gc.get_freeze_count() > 1_000 > len(gc.get_objects())
        after = weakref.ref(Cycle())
        gc.collect()
        assert after() is None
    finally:
        gc.unfreeze()
