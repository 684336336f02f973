"""Starts, watches and stops one worker process, and asks for its pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streams.errors import HeadraceError, SettingsError
from streams.health.process_guard import PARENT_VARIABLE
from streams.kafka.group_watch import GroupWatch
from streams.settings.load import load_settings
from tools.workers.apps import MODULES, AppName
from tools.workers.processes import signal_group
from tools.workers.worker_logs import MAX_BYTES, as_text, rotate

__all__ = ["Worker", "WorkerError", "opener"]

POLL_S: Final = 0.1
HTTP_TIMEOUT_S: Final = 5.0
TAIL_BYTES: Final = 200_000  # after a crash each part that was under way logs a traceback
TAIL_LINES: Final = 5
TAIL_ERRORS: Final = 2
_ERROR: Final = re.compile(r"\[ERROR\]|^[\w.]*(Error|Exception)\b")
#: An error that headrace raised on purpose says more than the errors of the shutdown after it.
_OWN_ERROR: Final = re.compile(
    r"^(streams|models)\.[\w.]*Error: |\[ERROR\] (\[\^\w+\]: )?(cannot start|the (event loop|worker) has)"
)
#: The first of these lines is the cause; errors of the shutdown come after it.
_CAUSE: Final = re.compile(r"\[ERROR\] the worker ends: ")
#: The workers listen on this machine, so a proxy of the environment must not be asked.
opener: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class WorkerError(HeadraceError):
    """A worker died, or does not become ready."""


class Worker:
    """One worker process: ``python -m faust -A MODULE worker``.

    As a context manager it starts the process on entering and stops it on leaving.

    Parameters
    ----------
    name : which app
    env : environment variables beside those of this process, such as ``HEADRACE_BROKER``
    web_port : port of its pages; no two workers share one
    log_path : file to which its output is appended
    module : what ``faust -A`` loads instead of the app's own module; empty for the app's own
    """

    def __init__(self, name: AppName, env: Mapping[str, str], web_port: int, log_path: Path, module: str = "") -> None:
        self.name = name
        self.module = module or MODULES[name]
        self.env = dict(env)
        self.web_port = web_port
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self.client_id = ""  # of the last start
        self._page_host = "127.0.0.1"
        self._log_begin = 0  # where this start's lines begin; restarts append

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Return the process id, or None before the start."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """Return the exit code, or minus the signal; None while it runs or before the start."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def command(self) -> list[str]:
        """Return the command line of the process."""
        faust = [sys.executable, "-m", "faust", "-A", self.module, "worker"]
        return [*faust, "--loglevel", "info", "--web-port", str(self.web_port)]

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches only its parent."""
        if self.is_running:
            raise WorkerError(f"{self.name}: runs already, pid {self.pid}")
        self.client_id = f"headrace-{self.name}-{uuid.uuid4().hex[:12]}"
        with contextlib.suppress(SettingsError):  # the worker reports the error and ends
            self._page_host = load_settings(self._environment()).health.page_host()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._log_begin = log.tell()
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment() | {"PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,
            )

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until ``/health`` answers 200: partitions assigned and state recovered.

        Raises
        ------
        WorkerError
            When the process died or the time is up; the message quotes the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if not self.is_running:
                raise WorkerError(
                    f"{self.name}: ended with code {self.returncode} before it was ready; {self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise WorkerError(f"{self.name}: not ready after {timeout_s:g} s; {self.log_tail()}")
            time.sleep(POLL_S)

    def is_ready(self) -> bool:
        """Whether ``/health`` answers 200 now."""
        try:
            with self._get("/health") as response:
                return bool(response.status == 200)
        except (OSError, ValueError):  # urllib's errors are OSErrors
            return False

    def counts(self) -> dict[str, Any]:
        """Return what the worker's ``/counts`` page says.

        Raises
        ------
        WorkerError
            When it does not answer.
        """
        return self._json("/counts")

    def metrics(self) -> str:
        """Return what the worker's ``/metrics`` page says, in Prometheus' text format.

        Raises
        ------
        WorkerError
            When it does not answer.
        """
        return self._page("/metrics").decode()

    def live(self) -> dict[str, Any]:
        """Return what the worker's ``/live`` page says.

        Raises
        ------
        WorkerError
            When it does not answer, or the worker is stuck.
        """
        return self._json("/live")

    def stop(self, timeout_s: float = 15.0) -> int | None:
        """End the process, with SIGKILL when the time is up; return its exit code. Repeat-safe."""
        if self._process is None:
            return None
        if self.is_running:
            self._signal_group(signal.SIGTERM)
            try:
                return self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                pass
            except BaseException:  # a second Ctrl-C ends the wait, and leaves no process behind
                self.kill()
                raise
        self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """End the process at once, as a crash would. Repeat-safe."""
        if self._process is not None and self.is_running:
            self._signal_group(signal.SIGKILL)
            self._process.wait()

    def leave_group(self) -> None:
        """Tell the broker that this process is dead, so that others take over its partitions.

        A thread does it. Where it fails, the others take over when the session of the dead has
        timed out.
        """
        kafka = load_settings(self._environment()).kafka
        watch = GroupWatch(kafka, kafka.group(self.name))

        async def run(client_id: str) -> None:
            with contextlib.suppress(HeadraceError):
                await watch.evict(client_id)
            await watch.stop()

        threading.Thread(target=lambda name: asyncio.run(run(name)), args=(self.client_id,), daemon=True).start()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.env, "HEADRACE_CLIENT_ID": self.client_id}

    def bound_log(self, max_bytes: int = MAX_BYTES) -> None:
        """Rotate the log when it has grown beyond ``max_bytes``."""
        if self.is_running and rotate(self.log_path, max_bytes):
            self._log_begin = 0

    def log_tail(self) -> str:
        """Return the most telling part of this start's log on one line, for an error message.

        That is the cause of a crash, else the last error of headrace's own, else the last errors,
        else the last lines.
        """
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(self._log_begin, self.log_path.stat().st_size - TAIL_BYTES))
                text = log.read().decode("utf-8", "replace")
                lines = [as_text(line.strip()) for line in text.splitlines() if line.strip()]
        except OSError:
            lines = []
        errors = [line for line in lines if _ERROR.search(line)]
        own = [line for line in errors if _OWN_ERROR.search(line)]
        cause = [line for line in errors if _CAUSE.search(line)]
        told = " | ".join(dict.fromkeys(cause[:1] or own[-1:] or errors[-TAIL_ERRORS:] or lines[-TAIL_LINES:]))
        return f"log {self.log_path}: {told or 'empty'}"

    def _json(self, page: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._page(page))
            return found
        except ValueError as exc:
            raise self._no_page(page, exc) from exc

    def _page(self, page: str) -> bytes:
        try:
            with self._get(page) as response:
                found: bytes = response.read()
                return found
        except OSError as exc:
            raise self._no_page(page, exc) from exc

    def _no_page(self, page: str, exc: Exception) -> WorkerError:
        return WorkerError(f"{self.name}: no {page.strip('/')} from port {self.web_port}: {exc}; {self.log_tail()}")

    def _get(self, page: str) -> Any:
        return opener.open(self.page_url(page), timeout=HTTP_TIMEOUT_S)

    def page_url(self, page: str) -> str:
        """Return the address of a page, as this machine reaches it."""
        return f"http://{self._page_host}:{self.web_port}{page}"

    def _signal_group(self, number: signal.Signals) -> None:
        """Signal the process and what it started; its session is its own."""
        assert self._process is not None  # callers have checked
        signal_group(self._process.pid, number)
