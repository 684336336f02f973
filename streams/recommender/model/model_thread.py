"""A thread that runs models, behind a bounded queue, so that the event loop only moves bytes."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from streams.errors import StalledError

ResultT = TypeVar("ResultT")

#: One job runs while the next is ready: more would only delay the newest windows.
QUEUE_SIZE: Final = 2
#: How long the end of the process waits for the running job: a job that hangs must not keep it
#: alive.
STOP_TIMEOUT_S: Final = 5.0
#: Seconds between two looks at how long a job has been running.
LOOK_S: Final = 1.0
_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class ModelThread:
    """One thread with a bounded queue. Each caller gets the result of its job, or the job's error.

    The thread is a daemon, because a job that hangs must not keep an ending process alive. A dead
    thread is replaced. As an async context it ends with the context.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._slots = asyncio.Semaphore(QUEUE_SIZE)
        self._thread: threading.Thread | None = None
        self._began_s: float | None = None

    @property
    def busy_s(self) -> float:
        """Seconds since the running job began; 0 without a job."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    async def run(self, job: Callable[..., ResultT], *args: Any) -> ResultT:
        """Run ``job(*args)`` on the thread and return its result; wait while the queue is full.

        Cancellation of the caller does not stop the job: a forward pass cannot be interrupted.
        """
        async with self._slots:
            future: Future[ResultT] = Future()
            self._jobs.put((future, job, args))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            return await asyncio.wrap_future(future)

    async def run_within(self, limit_s: float, job: Callable[..., ResultT], *args: Any) -> ResultT:
        """Run ``job(*args)`` as :meth:`run` does, and give up when the thread hangs.

        Raises
        ------
        StalledError
            When a job of the thread, this or one before it, has been running for longer.
        """
        running = asyncio.ensure_future(self.run(job, *args))
        try:
            while not (await asyncio.wait({running}, timeout=min(LOOK_S, limit_s)))[0]:
                if self.busy_s > limit_s:
                    raise StalledError(
                        f"{self._name}: a job has been running for {self.busy_s:.0f} s, limit {limit_s:g} s; "
                        "restart the worker"
                    )
            return running.result()
        finally:
            running.cancel()

    async def __aenter__(self) -> ModelThread:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await self.ended()

    def stop(self) -> None:
        """End the thread after the running job; cancel the queued jobs."""
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                job[0].cancel()
        self._jobs.put(None)

    async def ended(self) -> None:
        """Wait until the thread has ended, at most :data:`STOP_TIMEOUT_S`."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            self._do(*item)
            del item  # a thread that waits for its next job would hold the arguments of the last one

    def _do(self, future: Future[Any], job: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._began_s = time.monotonic()
        try:
            result = job(*args)
        except Exception as exc:  # the caller's error
            # asyncio's futures refuse a StopIteration: the caller would wait for ever
            future.set_exception(RuntimeError(repr(exc)) if isinstance(exc, StopIteration) else exc)
        except BaseException as exc:  # sys.exit in a library must not end the event loop
            future.set_exception(RuntimeError(f"{self._name}: the job ended its thread: {exc!r}"))
        else:
            future.set_result(result)
        finally:
            self._began_s = None
