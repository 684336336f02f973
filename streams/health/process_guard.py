"""A thread that ends the process when the event loop no longer can.

The event loop itself judges offsets (:mod:`streams.health.watchdog`). It cannot judge four things:

* the loop is blocked;
* the worker's stop does not end;
* after a crash the stop waits for a part that has crashed too;
* the program that started the worker is gone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from streams.printable import printable

#: EX_SOFTWARE of sysexits.h: an orderly end was not possible.
EXIT_FORCED: Final = 70
EXIT_CRASHED: Final = 1
#: After a crash the worker has nothing to deliver or commit: it leaves its group if it can, and
#: ends.
CRASH_TIMEOUT_S: Final = 1.0
TICK_S: Final = 0.5
#: Holds the process id of the program that started the worker, and with which the worker is to end.
PARENT_VARIABLE: Final = "HEADRACE_PARENT_PID"


def end_process(reason: str) -> None:
    """Write the reason and all threads' stacks to standard error; end with :data:`EXIT_FORCED`.

    The logging module is not used: a stuck thread may hold its lock.
    """
    with contextlib.suppress(OSError, ValueError):
        os.write(2, f"[ERROR] {printable(reason)}\n".encode())
        faulthandler.dump_traceback(file=sys.__stderr__)  # type: ignore[arg-type]  # standard error is open in a worker
    os._exit(EXIT_FORCED)


def end_crashed() -> None:
    """End the process at once with :data:`EXIT_CRASHED`; the log has the reason already."""
    os._exit(EXIT_CRASHED)


def parent_pid() -> int | None:
    """Return the id of the process with which this one is to end; None without one."""
    value = os.environ.get(PARENT_VARIABLE, "")
    return int(value) if value.isascii() and value.isdigit() else None


class ProcessGuard:
    """Watches the event loop's beat, how long a stop takes, and the parent process.

    Parameters
    ----------
    block_timeout_s : longest time without a beat
    stop_timeout_s : longest time from the beginning of the stop to the end of the process
    is_stopping : tells whether the stop has begun
    parent : process id of the program to end with, or None
    end : ends the process; called with the reason
    end_crashed : ends the process after a crash
    ask_to_stop : begins an orderly stop
    """

    def __init__(
        self,
        *,
        block_timeout_s: float,
        stop_timeout_s: float,
        is_stopping: Callable[[], bool],
        parent: int | None = None,
        end: Callable[[str], None] = end_process,
        end_crashed: Callable[[], None] = end_crashed,
        ask_to_stop: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
    ) -> None:
        self._block_timeout_s = block_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._is_stopping = is_stopping
        self._parent = parent
        self._end = end
        self._end_crashed = end_crashed
        self._ask_to_stop = ask_to_stop
        self._beat_s = self._checked_s = time.monotonic()
        self._stopping_s: float | None = None
        self._crashed_s: float | None = None
        self._done = threading.Event()

    def start(self) -> None:
        """Start the thread; it lives as long as the process."""
        threading.Thread(target=self._run, name="process-guard", daemon=True).start()

    def stop(self) -> None:
        """End the thread; a worker never does."""
        self._done.set()

    def beat(self, now_s: float | None = None) -> None:
        """Note that the event loop runs."""
        self._beat_s = time.monotonic() if now_s is None else now_s

    def crashed(self, now_s: float | None = None) -> None:
        """Note the crash; the worker ends after :data:`CRASH_TIMEOUT_S`, even if its stop hangs."""
        if self._crashed_s is None:
            self._crashed_s = time.monotonic() if now_s is None else now_s

    def check(self, now_s: float, getppid: Callable[[], int] = os.getppid) -> None:
        """Look once, at ``now_s`` seconds of the monotonic clock."""
        # the whole process was paused, not the loop alone
        if now_s - self._checked_s > 10 * TICK_S:
            self._beat_s = now_s
            if self._stopping_s is not None:
                self._stopping_s = now_s
        self._checked_s = now_s
        if self._crashed_s is not None:
            if now_s - self._crashed_s > CRASH_TIMEOUT_S:
                self._end_crashed()
        elif self._is_stopping():
            self._stopping_s = now_s if self._stopping_s is None else self._stopping_s
            if now_s - self._stopping_s > self._stop_timeout_s:
                self._end(
                    f"the worker has not stopped within stop_timeout_s={self._stop_timeout_s:g} s: ended; "
                    "what was not committed is read again; set HEADRACE_STOP_TIMEOUT_S higher if its work takes longer"
                )
        elif now_s - self._beat_s > self._block_timeout_s:
            self._end(
                f"the event loop has been blocked for {now_s - self._beat_s:.0f} s, above "
                f"stall_timeout_s={self._block_timeout_s:g}: ended; the stacks of all threads follow"
            )
        if self._parent is not None and getppid() != self._parent:
            self._parent = None
            self._ask_to_stop()

    def _run(self) -> None:
        while not self._done.wait(TICK_S):
            self.check(time.monotonic())
