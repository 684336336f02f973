"""Arrays that are freed leave the process, whatever was freed before."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
from streams.heap import give_memory_back

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if sys.argv[1] == "set":
    assert give_memory_back()
for _ in range(3):
    np.ones(30 << 20, dtype=np.uint8)  # raises the threshold that glibc sets for itself
before = rss()
large, small = [], []
for _ in range(20):
    large.append(np.ones(4 << 20, dtype=np.uint8))
    small.append(np.ones(50_000, dtype=np.uint8))  # stays, and holds the heap up
del large
print(rss() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_freed_arrays_leave_the_process() -> None:
    """80 MB of arrays are freed, of which the heap as it comes keeps nearly all."""

    def kept_bytes(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60, check=True
        )
        return int(done.stdout)

    assert kept_bytes("set") < 10_000_000 < 40_000_000 < kept_bytes("as-it-comes")
