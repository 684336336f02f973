"""Splits a lock file for the CPU image.

``python -m tools.project.image.without_cuda FROM LOCK TORCH`` writes into LOCK all of FROM but
PyTorch and what only its CUDA build needs, and into TORCH the requirement of PyTorch alone, for the
index of CPU builds. It needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

#: Packages that only the CUDA build of PyTorch needs; the CPU build has none of them.
CUDA_ONLY: Final = re.compile(r"(torch|triton|cuda-[a-z-]+|nvidia-[a-z0-9-]+)==")
_ENTRY: Final = re.compile(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", re.MULTILINE | re.DOTALL)


def without_cuda(lock: str) -> str:
    """Return the text of a lock file without those packages, hashes and all."""
    return "".join(entry for entry in _ENTRY.findall(lock) if not CUDA_ONLY.match(entry))


def torch_requirement(lock: str) -> str:
    """Return PyTorch's requirement, such as ``torch==2.13.0``.

    Raises
    ------
    ValueError
        When the lock file does not pin PyTorch.
    """
    found = re.search(r"^(torch==[^\s;\\]+)", lock, re.MULTILINE)
    if found is None:
        raise ValueError("the lock file pins no torch")
    return found[1]


def main(source: str, lock: str, torch: str) -> None:
    """Write both files."""
    text = Path(source).read_text("utf-8")
    Path(lock).write_text(without_cuda(text), "utf-8")
    Path(torch).write_text(f"{torch_requirement(text)}\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
