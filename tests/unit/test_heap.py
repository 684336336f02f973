"""What is freed leaves the process, whatever was freed before and whatever lies between."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import time
import numpy as np
from streams import heap

heap.TRIM_EVERY_S = 0.2

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if sys.argv[1] == "set":
    assert heap.give_memory_back()
for _ in range(3):
    np.ones(30 << 20, dtype=np.uint8)  # raises the threshold that glibc sets for itself
before = rss()
freed, kept = [], []
for _ in range(20):
    freed.append(np.ones(4 << 20, dtype=np.uint8))
    kept.append(np.ones(50_000, dtype=np.uint8))  # stays, and holds the heap up
del freed
time.sleep(1.0)
print(rss() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_freed_arrays_leave_the_process() -> None:
    """80 MB of arrays are freed; the heap as it comes keeps most of them."""

    def kept_bytes(how: str) -> int:
        argv = [sys.executable, "-c", PROGRAM, how]
        return int(subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout)

    assert kept_bytes("set") < 10_000_000 < 40_000_000 < kept_bytes("as-it-comes")
