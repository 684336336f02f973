"""Starts and stops workers together, and restarts those that end on their own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from streams.printable import counted
from tools.workers.process import Worker, WorkerError

READY_S: Final = 180.0  # the recommender loads its models first


class Supervisor:
    """Restarts workers that end on their own: at once, then after growing pauses, up to a limit.

    Parameters
    ----------
    workers : workers that have been started
    max_restarts : restarts of one worker within ``window_s``; one more raises
    window_s : seconds after which a restart is forgotten
    """

    def __init__(self, workers: list[Worker], *, max_restarts: int = 5, window_s: float = 300.0) -> None:
        self._workers = workers
        self._max_restarts = max_restarts
        self._window_s = window_s
        self._restarts: dict[int, list[float]] = {i: [] for i in range(len(workers))}
        self._due: dict[int, float] = {}

    def check(self, now: float) -> list[str]:
        """Look once, at ``now`` seconds of a monotonic clock; restart the workers that are due.

        Returns
        -------
        a line for each worker that has ended since the last look

        Raises
        ------
        WorkerError
            When a worker ended more often than the limit allows.
        """
        told: list[str] = []
        for i, worker in enumerate(self._workers):
            worker.bound_log()
            if i in self._due:
                if now >= self._due[i]:
                    del self._due[i]
                    worker.start()
            elif not worker.is_running:
                told.append(self._plan_restart(i, worker, now))
        return told

    def _plan_restart(self, i: int, worker: Worker, now: float) -> str:
        recent = self._restarts[i] = [at for at in self._restarts[i] if at > now - self._window_s]
        if len(recent) >= self._max_restarts:
            raise WorkerError(
                f"{worker.name}: ended {counted(len(recent) + 1, 'time')} within {self._window_s:g} s; {worker.log_tail()}"
            )
        worker.leave_group()
        pause_s = float(2 ** (len(recent) - 1)) if recent else 0.0
        recent.append(now)
        self._due[i] = now + pause_s
        return f"{worker.name} ended with code {worker.returncode}; restart in {pause_s:g} s; {worker.log_tail()}"


@contextlib.contextmanager
def running(workers: Sequence[Worker]) -> Iterator[None]:
    """Start workers and wait until all are ready; stop them when the block ends.

    Raises
    ------
    WorkerError
        When a worker ends before it is ready, or is not ready within :data:`READY_S`.
    """
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_ready(READY_S)
        yield
    finally:
        stop_all(workers)


def stop_all(workers: Sequence[Worker], timeout_s: float = 15.0) -> None:
    """Stop all workers at once, each killed when it does not end in time."""
    threads = [threading.Thread(target=worker.stop, args=(timeout_s,)) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        for worker in workers:
            worker.kill()
