"""The servers of ``headrace drill serve``: processes that may be killed at any time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streams.errors import RunError
from tools.drills.acts.http_connection import Connection
from tools.workers.ports import HOST, free_port

STOP_S: Final = 20.0
POLL_S: Final = 0.1
TAIL_LINES: Final = 3
#: The folder of lists and records in a server's own folder.
STORE: Final = "store"


class DrillServer:
    """One server: a process that may be killed, with or without its store, and started again.

    Parameters
    ----------
    env : environment variables beside those of this process
    folder : holds its store and its log

    Attributes
    ----------
    ranks : whether it has a model
    starts_s : when each of its processes was started, in seconds of the monotonic clock
    ready_s : when the process of the same place was ready; infinite where it was killed before
    kills_s : when processes were killed
    """

    def __init__(self, number: int, env: Mapping[str, str], folder: Path, *, ranks: bool) -> None:
        self.number = number
        self.ranks = ranks
        self.port = free_port()
        self.label = f"server-{number}"
        self.starts_s: list[float] = []
        self.ready_s: list[float] = []
        self.kills_s: list[float] = []
        self._store = folder / self.label / STORE
        self._log = folder / f"{self.label}.log"
        own = {
            "HEADRACE_SERVE_DIR": str(self._store),
            "HEADRACE_SERVE_RANKING": "on" if ranks else "off",
            "HEADRACE_ENCODER_CACHE_DIR": str(folder / self.label / "encoder-cache"),
            "HEADRACE_CLIENT_ID": f"headrace-{self.label}",
            "OMP_NUM_THREADS": "1",
        }
        self._env = {name: value for name, value in os.environ.items() if name != "HEADRACE_SERVE_KEYS_FILE"}
        self._env |= dict(env) | own
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process."""
        command = [sys.executable, "-m", "tools.main", "serve", "--port", str(self.port)]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self.starts_s.append(time.monotonic())
            self.ready_s.append(float("inf"))
            self._process = subprocess.Popen(
                command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self, *, deletes_store: bool) -> None:
        """End the process with SIGKILL, delete what it kept if that is asked, start it again."""
        self.check()
        assert self._process is not None
        self.kills_s.append(time.monotonic())
        self._process.kill()
        self._process.wait()
        if deletes_store:
            shutil.rmtree(self._store, ignore_errors=True)
        self.start()

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when the process says that it is ready.

        Raises
        ------
        RunError
            When it has ended, or is not ready in time; the message has the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        connection = Connection(HOST, self.port)
        try:
            while True:
                self.check()
                with contextlib.suppress(OSError, EOFError):
                    if (await connection.ask("GET", "/readyz"))[0] == 200:
                        self.ready_s[-1] = min(self.ready_s[-1], time.monotonic())
                        return
                if time.monotonic() > deadline:
                    raise RunError(f"{self.label}: not ready after {timeout_s:g} s; {self._tail()}")
                await asyncio.sleep(POLL_S)
        finally:
            connection.close()

    def check(self) -> None:
        """Raise :class:`RunError` where the process has ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise RunError(f"{self.label}: ended by itself with code {code}; {self._tail()}")

    async def stop(self) -> str:
        """Stop the process in order; return what went wrong, else an empty text. Repeat-safe."""
        process, self._process = self._process, None
        if process is None:
            return ""
        process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"{self.label}: not stopped within {STOP_S:g} s"
        return "" if code == 0 else f"{self.label}: stopped with code {code}, must be 0; {self._tail()}"

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text("utf-8", "replace").strip().splitlines()
            return f"log {self._log}: {' | '.join(lines[-TAIL_LINES:])}"
        return f"log {self._log}"
