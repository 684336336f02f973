"""Calls of a search engine: each within a deadline, and none for a while after a failure."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

#: After a failure the engine is not asked for this long.
RETRY_S: Final = 5.0


class EngineError(Exception):
    """The engine did not answer, answered too late, or answered something else than was asked."""


class EngineCalls:
    """Asks an engine, and remembers whether it answers. For any threads.

    Attributes
    ----------
    problem : why this process answers instead of the engine, else empty
    n_failures : searches and builds that failed
    """

    def __init__(self) -> None:
        self.problem = ""
        self.n_failures = 0
        self._retry_at = 0.0
        self._lock = threading.Lock()
        self._last_call: threading.Thread | None = None

    def ask(self, call: Callable[[], T], timeout_s: float) -> T:
        """Return what a call of the client returns, within a deadline that no slow answer extends.

        Raises
        ------
        EngineError
            When the call fails or is late. Its thread goes on until the client's own timeout.
        """
        answers: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

        def run() -> None:
            try:
                answers.put((call(), None))
            except Exception as exc:  # the client raises those of httpx, pydantic and its own
                answers.put((None, exc))

        self._last_call = threading.Thread(target=run, name="index-engine", daemon=True)
        self._last_call.start()
        try:
            answer, error = answers.get(timeout=timeout_s)
        except Empty:
            raise EngineError(f"no answer within {timeout_s * 1e3:.0f} ms") from None
        if error is not None:
            cause = getattr(error, "source", error)
            raise EngineError(f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}") from error
        found: T = answer
        return found

    def may_ask(self) -> bool:
        """Whether the server has answered lately, or it is time for one caller to try again.

        Nobody tries while the last call still waits for its answer.
        """
        with self._lock:
            if not self.problem:
                return True
            now, last = time.monotonic(), self._last_call
            if now < self._retry_at or (last is not None and last.is_alive()):
                return False
            self._retry_at = now + RETRY_S
            return True

    def note_failure(self, problem: str) -> None:
        """Keep why the server cannot be used, and do not ask it for a while."""
        with self._lock:
            self.n_failures += 1
            if not self.problem:
                log.warning("index engine: %s", problem)
            self.problem, self._retry_at = f"index engine: {problem}", time.monotonic() + RETRY_S

    def note_answer(self) -> None:
        """Note that the server answers."""
        if self.problem:
            with self._lock:
                log.warning("index engine: answers again")
                self.problem = ""
