"""A started broker's state file, its lock, its port and its space on disk.

The state file names a process to signal. So headrace trusts it only where nobody else can have
written it: the folder and the file belong to this user, and no other user may write them. Then
:mod:`tools.workers.processes` checks that the process is the one that was started.

The module imports the standard library only, so that a Python without the packages can stop a
broker.
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
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.files.atomic import replace_file
from streams.errors import BrokerError
from tools.workers.ports import HOST, free_port
from tools.workers.processes import Process, is_pid, started

DEFAULT_PORT = 9092
MIN_FREE_BYTES = 500 * 1000 * 1000
LOCK_TIMEOUT_S = 120.0
STATE_FILE = "broker.json"
START_LOCK = "start.lock"
LOG_FILE = "broker.log"
# a line of the log begins so at each start; messages quote what follows the last one
START_MARK = "=== start "
LOG_KEEP_BYTES = 20_000_000
#: What a local broker needs and no worker does.
INSTALL_EXTRA = "pip install 'headrace[local-broker]'"
MAX_STATE_BYTES = 1_000_000  # the command line of a broker names some fifty jars


@dataclass(frozen=True)
class BrokerState:
    """One started broker, as written to ``broker.json`` right after its process began."""

    engine: str
    version: str
    port: int
    pid: int | None  # None: the process belongs to the docker engine
    # of the process (see process_identity), or the compose project of the docker engine
    identity: str
    notes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)  # of the process

    @property
    def bootstrap(self) -> str:
        """Host and port that clients connect to."""
        return f"{HOST}:{self.port}"

    @property
    def process(self) -> Process | None:
        """The recorded process; ``None`` where it belongs to the docker engine."""
        return None if self.pid is None else Process(self.pid, self.identity, tuple(self.command))


def read_state(data: Path) -> BrokerState | None:
    """Return the recorded broker of a data directory; ``None`` without a readable record.

    Raises
    ------
    BrokerError : others may have written the file, or headrace never writes such a record
    """
    file = data / STATE_FILE
    try:
        check_folder(data)
        found = json.loads(_own_content(file))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or "pid" not in found:
        return None
    problem = _problem(found)
    if problem:
        raise not_believed(file, problem)
    return BrokerState(**found)


def not_believed(file: Path, problem: str) -> BrokerError:
    """Return the error for a state file that cannot be trusted, with the remedy."""
    return BrokerError(
        f"{file}: {problem}; nothing was signalled: end the broker by hand if one runs, and remove the file"
    )


def _own_content(file: Path) -> bytes:
    """Return the content of a file that belongs to this user and that no other user may write."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise not_believed(file, "is not a plain file that belongs to this user and that nobody else may write")
        return opened.read(MAX_STATE_BYTES)


def _problem(found: dict[str, Any]) -> str:
    """Return why headrace cannot have written a state file's content; empty where it can."""
    kinds = {"engine": str, "version": str, "port": int, "identity": str, "notes": list, "command": list}
    missing = sorted((kinds.keys() | {"pid"}) - found.keys())
    if missing:
        return f"lacks {missing[0]!r}, so another version of headrace wrote it"
    for name, kind in kinds.items():
        if type(found[name]) is not kind or (kind is list and not all(type(part) is str for part in found[name])):
            return f"{name}={found[name]!r} is not of the kind {kind.__name__}"
    if found.keys() - kinds.keys() - {"pid"}:
        return "holds more than the record of a broker"
    if found["pid"] is not None and not is_pid(found["pid"]):
        return f"pid={found['pid']!r} must be a whole number above 1"
    return "" if 1 <= found["port"] <= 65535 else f"port={found['port']!r} must be 1 to 65535"


def write_state(data: Path, state: BrokerState) -> None:
    """Record a started broker, in one step."""
    replace_file(data / STATE_FILE, (json.dumps(asdict(state), indent=1) + "\n").encode())


def clear_state(data: Path) -> None:
    """Forget the recorded broker; safe to repeat."""
    (data / STATE_FILE).unlink(missing_ok=True)


def spawn(data: Path, engine: str, version: str, port: int, argv: list[str], env: dict[str, str]) -> BrokerState:
    """Start a broker process that outlives this one; record it before an interrupt takes effect."""
    log = data / LOG_FILE
    if log.exists() and log.stat().st_size > LOG_KEEP_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with _interrupt_deferred(), log.open("ab") as out:
        out.write(f"{START_MARK}{engine} {version} on port {port}\n".encode())
        out.flush()
        child = subprocess.Popen(
            argv, cwd=data, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        process = started(child)
        state = BrokerState(engine, version, port, process.pid, process.identity, [], list(process.command))
        write_state(data, state)
    return state


@contextlib.contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Delay Ctrl-C until the block ends, in the main thread, where Ctrl-C is not ignored."""
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


@contextlib.contextmanager
def exclusive(path: Path, *, what: str, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold a lock file; the lock ends with the process, however that ends.

    Raises
    ------
    BrokerError : ``what`` holds the lock for longer than ``timeout_s`` seconds
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


def choose_port(port: int | None) -> int:
    """Return the port to listen on: the given port, or any free port for 0.

    For ``None`` it is 9092, or a free port where 9092 is taken.

    Raises
    ------
    BrokerError : the given port is taken or out of range
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
    """Create the data directory, for this user alone, and its lock file; return its absolute path.

    Two processes may do so at once.

    Raises
    ------
    BrokerError : this user cannot write it, or another user can
    """
    where = data.expanduser().absolute()
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(where)
        (where / START_LOCK).open("a").close()
    except OSError as exc:
        raise BrokerError(f"--data {where}: cannot be written ({exc.strerror}); name another with --data") from exc
    return where


def check_folder(data: Path) -> None:
    """Check that a data directory belongs to this user and that no other user may write it.

    Another user who may write it could make headrace signal a process, or write a file, of their
    choice.

    Raises
    ------
    BrokerError : the directory fails the check
    OSError : the directory does not exist
    """
    found = data.stat()
    if found.st_uid != os.geteuid():
        raise BrokerError(f"--data {data}: belongs to user {found.st_uid}; name a folder of your own with --data")
    if found.st_mode & 0o022:
        raise BrokerError(
            f"--data {data}: others may write it; run chmod go-w {data}, or name another folder with --data"
        )


def check_space(data: Path) -> None:
    """Check that at least ``MIN_FREE_BYTES`` are free where the data directory is.

    Raises
    ------
    BrokerError : less space is free
    """
    free = shutil.disk_usage(data).free
    if free < MIN_FREE_BYTES:
        raise BrokerError(
            f"--data {data}: {free // 1_000_000} MB are free, at least {MIN_FREE_BYTES // 1_000_000} MB are needed; "
            "free some space or name a folder on another disk with --data"
        )
