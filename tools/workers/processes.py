"""Recognises processes that headrace started by id, start time and command line, and signals them.

An id alone is no proof. The system gives ids out again. A file that holds an id may be old or
forged. And ``kill`` takes the numbers -1, 0 and 1 for every process, our own group and the init
process. So every signal that a command sends to another process goes through this module.

The module imports the standard library only, so that a Python without the packages can stop a
broker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.errors import BrokerError

STOP_TIMEOUT_S: Final = 15.0
SHOWN_WITHIN_S: Final = 5.0  # a process shows no command line for a moment after its start
FIRST_PID: Final = 2  # 1 is the init process; 0 and below mean groups and everybody
_LARGEST_PID: Final = 2**31 - 1

_children: dict[int, subprocess.Popen[bytes]] = {}  # by pid; only a parent collects its dead


@dataclass(frozen=True)
class Process:
    """One process that headrace started.

    Parameters
    ----------
    identity : what no other process with this id ever had, see :func:`process_identity`
    command : the command line
    """

    pid: int
    identity: str
    command: tuple[str, ...]

    def is_alive(self) -> bool:
        """Return whether this process itself still runs, not just some process under its id."""
        return (
            is_pid(self.pid)
            and process_identity(self.pid) == self.identity
            and command_line(self.pid) == _as_shown(self.command)
        )

    def send(self, number: signal.Signals) -> bool:
        """Signal the process, but no other process under its id; return whether it was there."""
        if not self.is_alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return True


def started(child: subprocess.Popen[bytes]) -> Process:
    """Return the record of a child by which it can be recognised later.

    :func:`end_process` collects the child when it ends it.
    """
    _children[child.pid] = child
    process = Process(child.pid, process_identity(child.pid) or "dead", tuple(map(str, child.args)))  # type: ignore[arg-type]
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while not process.is_alive() and process_identity(child.pid) and time.monotonic() < deadline:
        time.sleep(0.001)
    return process


def is_pid(value: object) -> bool:
    """Return whether a value is the id of one process other than the init process."""
    return type(value) is int and FIRST_PID <= value <= _LARGEST_PID


def parse_pid(text: str) -> int | None:
    """Return the process id that a text holds, or None where it holds none."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST_PID))):
        return None
    return int(text) if is_pid(int(text)) else None


def process_identity(pid: int) -> str | None:
    """Return a string that no other process with this id ever had; ``None`` for a dead process.

    With ``/proc`` the string is the boot's id and the start time in clock ticks since the boot;
    elsewhere it is the start time that ``ps`` shows.
    """
    if _has_proc():
        try:
            # The name in parentheses may hold anything. After it come the state, the parent, ...,
            # the start time.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    shown = _ps(pid, "stat=,lstart=").split(maxsplit=1)
    return None if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()


def command_line(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process; none for a dead process or one that the system hides."""
    if not _has_proc():
        return (_ps(pid, "command=").strip(),)
    try:
        shown = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(os.fsdecode(part) for part in shown.split(b"\0")[:-1])


def _as_shown(command: tuple[str, ...]) -> tuple[str, ...]:
    return command if _has_proc() else (" ".join(command).strip(),)


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _ps(pid: int, columns: str) -> str:
    return subprocess.run(
        ["ps", "-ww", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    ).stdout


def end_process(process: Process, patience_s: float = STOP_TIMEOUT_S) -> bool:
    """End a process: SIGTERM, and SIGKILL after ``patience_s`` seconds.

    Returns whether there was such a process. Another one under the same id is left alone.
    """
    if not process.is_alive():
        return False
    for number, patience in ((signal.SIGTERM, patience_s), (signal.SIGKILL, STOP_TIMEOUT_S)):
        process.send(number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            _reap(process.pid)
            if process_identity(process.pid) != process.identity:
                return True
            time.sleep(0.02)
    raise BrokerError(f"pid {process.pid}: still runs {STOP_TIMEOUT_S:.0f} s after SIGKILL; end it by hand")


def signal_group(pid: int, number: signal.Signals) -> bool:
    """Signal the process group that a worker leads; return whether it leads one.

    A process in the group of another process is left alone, because that group holds processes that
    headrace did not start.

    Parameters
    ----------
    pid : a child that was not collected yet, or a process that was just found in ``/proc``
    """
    with contextlib.suppress(ProcessLookupError):
        if is_pid(pid) and os.getpgid(pid) == pid:
            os.killpg(pid, number)
            return True
    return False


def _reap(pid: int) -> None:
    """Collect the process if it is our child, so that it does not stay as a zombie."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
