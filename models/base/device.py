"""Where PyTorch computes, and how it shares the process with an event loop."""

from __future__ import annotations

import os
import sys
from typing import Final

import torch

#: Seconds after which a waiting thread asks for Python's interpreter lock. While another thread
#: computes, PyTorch waits this long after each of its many short operations. Python's default is
#: ten times as long, and makes a model beside a busy thread more than twice as slow.
SWITCH_INTERVAL_S: Final = 0.0005


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    ValueError
        When the caller asks for CUDA and PyTorch finds none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise ValueError("device 'cuda': PyTorch finds no CUDA device; choose auto or cpu")
    return "cuda" if has_cuda and device != "cpu" else "cpu"


def check_computes(device: str) -> None:
    """Add one number on a device.

    Raises
    ------
    ValueError
        When the device is there and does not compute: a driver of another version, no free memory.
    """
    try:
        torch.ones(1, device=device).sum().item()
    except (AssertionError, RuntimeError) as exc:  # PyTorch without CUDA asserts
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise ValueError(f"device {device!r} does not compute ({reason}); choose cpu") from exc


def tame_pytorch() -> None:
    """Set PyTorch up for a process with an event loop.

    It leaves one core free, keeps few kernels, and waits briefly for the interpreter lock. oneDNN,
    which PyTorch uses for the GELU, compiles a kernel for each new shape and keeps a thousand of
    them, 1.3 MB each. Every micro-batch has another shape: a recommender grew by a gigabyte within
    an hour. PyTorch's own GELU costs the same over all.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    torch.backends.mkldnn.set_flags(_enabled=False)  # type: ignore[no-untyped-call]
