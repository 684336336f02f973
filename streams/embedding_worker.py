"""The one thread that runs models, behind a bounded queue, so that the event loop only moves bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

ResultT = TypeVar("ResultT")

#: One job runs while the next is ready: more would only delay the newest windows.
QUEUE_SIZE: Final = 2


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    SettingsError
        When CUDA is asked for and there is none.
    """
    import torch

    from streams.errors import SettingsError

    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise SettingsError("device='cuda': PyTorch finds no CUDA device; set HEADRACE_DEVICE=auto or cpu")
    return "cuda" if has_cuda and device != "cpu" else "cpu"


def leave_a_core() -> None:
    """Keep PyTorch off one core, which stays free for the event loop."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))


class EmbeddingWorker:
    """A single thread with a bounded queue. Every job resolves its caller, with a result or with the job's error."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding-worker")
        self._slots = asyncio.Semaphore(QUEUE_SIZE)

    async def run(self, job: Callable[..., ResultT], *args: Any) -> ResultT:
        """Run ``job(*args)`` on the thread and return its result; waits while the queue is full.

        A caller that is cancelled leaves its job running: a forward pass cannot be interrupted.
        """
        async with self._slots:
            return await asyncio.get_running_loop().run_in_executor(self._executor, job, *args)

    def stop(self) -> None:
        """End the thread after the job at hand; queued jobs are cancelled."""
        self._executor.shutdown(wait=False, cancel_futures=True)
