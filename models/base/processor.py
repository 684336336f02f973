"""What linear algebra must be told about the processor, before NumPy is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: What OpenBLAS's kernels for AVX-512 need.
_AVX_512: Final = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})


#: For a process with an event loop: the products of a micro-batch are small, and a pool of threads
#: that waits for the next one takes the cores of the event loop.
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1"}


def set_up_algebra(*, is_beside_events: bool = False) -> None:
    """Set this process's environment, and that of its children; what is set already stays.

    Parameters
    ----------
    is_beside_events : whether an event loop runs in this process
    """
    for name, value in (algebra_environment() | (ONE_THREAD if is_beside_events else {})).items():
        os.environ.setdefault(name, value)


def algebra_environment(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the variables that make linear algebra as fast as the processor is.

    They ask for AVX-512 where an AMD processor has it: OpenBLAS 0.3.31 does not know the newest
    ones and then computes at half their speed.

    Parameters
    ----------
    cpuinfo : Linux's description of the processor; where there is none, OpenBLAS decides
    """
    return {"OPENBLAS_CORETYPE": "SkylakeX"} if _is_amd_with_avx_512(cpuinfo) else {}


def _is_amd_with_avx_512(cpuinfo: Path) -> bool:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    first = dict(line.split(":", 1) for line in text.partition("\n\n")[0].splitlines() if ":" in line)
    about = {name.strip(): value.strip() for name, value in first.items()}
    return about.get("vendor_id") == "AuthenticAMD" and set(about.get("flags", "").split()) >= _AVX_512
