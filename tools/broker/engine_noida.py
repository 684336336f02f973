"""Engine ``noida``: a small broker in a wheel, for a machine without Docker and Maven Central.

It keeps its records in memory and serves one worker of a group only: a second one hangs while it
joins.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path

from tools.broker.kafka_jars import Progress
from tools.broker.state import INSTALL_EXTRA, BrokerState, spawn

NAME = "noida"
LIMITS = "noida is for development only: it keeps records in memory and serves one worker; do not start a second"


def problem() -> str | None:
    """Return why this engine cannot work here, or ``None``."""
    if importlib.util.find_spec("noida_db") is None:
        return f"the package noida-db is not installed; {INSTALL_EXTRA}"
    if not _binary().is_file():
        return "noida-db has no binary for this machine"
    return None


def launch(data: Path, port: int, progress: Progress | None = None) -> BrokerState:
    """Start the broker on ``port``; ``progress`` is not called."""
    binary = _binary()
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    argv = [str(binary), *_options(data), "--kafka-port", str(port)]
    return spawn(data, NAME, importlib.metadata.version("noida-db"), port, argv, dict(os.environ))


def is_own(data: Path, state: BrokerState) -> bool:
    """Return whether a record names a broker of that data directory."""
    own = [str(_binary()), *_options(data)]
    return state.pid is not None and state.command[: len(own)] == own


def _options(data: Path) -> list[str]:
    return ["start", "--data-dir", str(data / "noida"), "--only", "kafka"]


def _binary() -> Path:
    spec = importlib.util.find_spec("noida_db")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    return folder / "noida-db"
