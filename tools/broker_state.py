"""What a started broker leaves on disk, and whether it is still alive: state file, process identity, lock, port, space.

A process id alone is no proof, because ids are used again: a process is known by its id together with its start time.
Standard library only, so that a broker can be stopped by a Python that has none of the packages.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from streams.errors import BrokerError

HOST = "127.0.0.1"
DEFAULT_PORT = 9092
MIN_FREE_BYTES = 500 * 1000 * 1000
LOCK_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
STATE_FILE = "broker.json"
START_LOCK = "start.lock"
LOG_FILE = "broker.log"
START_MARK = "=== start "  # begins a line of the log; what is quoted comes after the last one
LOG_KEEP_BYTES = 20_000_000

_children: dict[int, subprocess.Popen[bytes]] = {}  # by pid; only a parent collects its dead


@dataclass(frozen=True)
class BrokerState:
    """One started broker, as written to ``broker.json`` right after its process began."""

    engine: str
    version: str
    port: int
    pid: int | None  # None: the process belongs to the docker engine
    identity: str  # of the process (see process_identity), or the compose project of the docker engine
    notes: list[str] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        """Host and port that clients connect to."""
        return f"{HOST}:{self.port}"


def read_state(data: Path) -> BrokerState | None:
    """Return the recorded broker of a data directory; ``None`` if there is none or the file is unreadable."""
    try:
        return BrokerState(**json.loads((data / STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_state(data: Path, state: BrokerState) -> None:
    """Record a started broker, in one step."""
    draft = data / f"{STATE_FILE}.part"
    draft.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
    draft.replace(data / STATE_FILE)


def clear_state(data: Path) -> None:
    """Forget the recorded broker; safe to repeat."""
    (data / STATE_FILE).unlink(missing_ok=True)


def spawn(data: Path, engine: str, version: str, port: int, argv: list[str], env: dict[str, str]) -> BrokerState:
    """Start a broker process that outlives this one, and record it before any interrupt is acted upon."""
    log = data / LOG_FILE
    if log.exists() and log.stat().st_size > LOG_KEEP_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with _interrupt_deferred(), log.open("ab") as out:
        out.write(f"{START_MARK}{engine} {version} on port {port}\n".encode())
        out.flush()
        child = subprocess.Popen(
            argv, cwd=data, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        _children[child.pid] = child
        state = BrokerState(engine, version, port, child.pid, process_identity(child.pid) or "dead")
        write_state(data, state)
    return state


@contextlib.contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, where it would arrive at all: in the main thread, unless ignored."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield
        return
    arrived: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if arrived:
        signal.raise_signal(signal.SIGINT)


def process_identity(pid: int) -> str | None:
    """Return a string that no other process of this machine ever had, or ``None`` if the process is dead.

    Where there is ``/proc`` it is the boot's id and the start time in clock ticks since; elsewhere what ``ps`` says.
    """
    if Path("/proc/self/stat").exists():
        try:
            # The name, in parentheses, may hold anything; after its end come the state, the parent, ... the start time.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    ).stdout.split(maxsplit=1)
    return None if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()


def is_alive(state: BrokerState) -> bool:
    """Return whether the recorded process itself still runs, not just something under its id."""
    return state.pid is not None and process_identity(state.pid) == state.identity


def end_process(pid: int, identity: str, patience_s: float = STOP_TIMEOUT_S) -> bool:
    """End the process of that id and identity: SIGTERM, and SIGKILL after ``patience_s`` seconds.

    Returns whether there was such a process. Another one under the same id is left alone.
    """
    if process_identity(pid) != identity:
        return False
    for sent, patience in ((signal.SIGTERM, patience_s), (signal.SIGKILL, STOP_TIMEOUT_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            _reap(pid)
            if process_identity(pid) != identity:
                return True
            time.sleep(0.02)
    raise BrokerError(f"pid {pid}: still runs {STOP_TIMEOUT_S:.0f} s after SIGKILL; end it by hand")


def _reap(pid: int) -> None:
    """Collect the process if it is our child, so that it does not stay as a zombie."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


@contextlib.contextmanager
def exclusive(path: Path, *, what: str, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold a lock file; it falls free with the process, however that ends.

    Raises
    ------
    BrokerError : ``what`` holds it for longer than ``timeout_s`` seconds
    """
    deadline = time.monotonic() + timeout_s
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() > deadline:
                raise BrokerError(f"{path}: {what} holds it for more than {timeout_s:.0f} s; wait for it or end it")
            time.sleep(0.05)
        yield


def port_taken(port: int) -> bool:
    """Return whether something listens on that port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def choose_port(port: int | None) -> int:
    """Return the port to listen on: the one asked for, any free one for 0, and for ``None`` 9092 or else a free one.

    Raises
    ------
    BrokerError : the port that was asked for is taken or out of range
    """
    if port is None:
        return free_port() if port_taken(DEFAULT_PORT) else DEFAULT_PORT
    if port == 0:
        return free_port()
    if not 1 <= port <= 65535:
        raise BrokerError(f"--port {port}: must be 0 to 65535; leave it out for 9092 or a free one")
    if port_taken(port):
        raise BrokerError(f"--port {port}: is taken on {HOST}; name another, or leave --port out for a free one")
    return port


def prepare_data_dir(data: Path) -> Path:
    """Create the data directory and its lock file; return its absolute path. Safe to race.

    Raises
    ------
    BrokerError : it cannot be written
    """
    where = data.expanduser().absolute()
    try:
        where.mkdir(parents=True, exist_ok=True)
        (where / START_LOCK).open("a").close()
    except OSError as exc:
        raise BrokerError(f"--data {where}: cannot be written ({exc.strerror}); name another with --data") from exc
    return where


def check_space(data: Path) -> None:
    """Check that at least ``MIN_FREE_BYTES`` are free where the data directory is.

    Raises
    ------
    BrokerError : less
    """
    free = shutil.disk_usage(data).free
    if free < MIN_FREE_BYTES:
        raise BrokerError(
            f"--data {data}: {free // 1_000_000} MB are free, at least {MIN_FREE_BYTES // 1_000_000} MB are needed; "
            "free some space or name a folder on another disk with --data"
        )
