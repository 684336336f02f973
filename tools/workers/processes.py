"""The processes that headrace started: known again by id, start time and command line, and signalled only then.

An id alone is no proof. The system gives ids out again, a file that holds one may be old or forged, and to ``kill`` the numbers -1, 0 and
1 mean every process, our own group and the init process. Every signal that a command sends to another process goes through this module.

Standard library only, so that a broker can be stopped by a Python that has none of the packages.
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
SHOWN_WITHIN_S: Final = 5.0  # for a moment after its start a process shows no command line yet
FIRST_PID: Final = 2  # 1 is the init process; 0 and below mean groups and everybody
_LARGEST_PID: Final = 2**31 - 1

_children: dict[int, subprocess.Popen[bytes]] = {}  # by pid; only a parent collects its dead


@dataclass(frozen=True)
class Process:
    """One process that headrace started: its id, what no other process of this id shares, and its command line."""

    pid: int
    identity: str
    command: tuple[str, ...]

    def is_alive(self) -> bool:
        """Return whether this process itself still runs, not just something under its id."""
        return (
            is_pid(self.pid)
            and process_identity(self.pid) == self.identity
            and command_line(self.pid) == _as_shown(self.command)
        )

    def send(self, number: signal.Signals) -> bool:
        """Signal it; return whether it was there. Another process under its id is left alone."""
        if not self.is_alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return True


def started(child: subprocess.Popen[bytes]) -> Process:
    """Return a child as what it can be known by later; it is collected when it is ended here."""
    _children[child.pid] = child
    process = Process(child.pid, process_identity(child.pid) or "dead", tuple(map(str, child.args)))  # type: ignore[arg-type]
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while not process.is_alive() and process_identity(child.pid) and time.monotonic() < deadline:
        time.sleep(0.001)
    return process


def is_pid(value: object) -> bool:
    """Return whether a value is the id of one process that is neither the init process nor a group."""
    return type(value) is int and FIRST_PID <= value <= _LARGEST_PID


def parse_pid(text: str) -> int | None:
    """Return the process id that a text holds, or None where it holds none."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST_PID))):
        return None
    return int(text) if is_pid(int(text)) else None


def process_identity(pid: int) -> str | None:
    """Return a string that no other process of this machine ever had, or ``None`` if the process is dead.

    Where there is ``/proc`` it is the boot's id and the start time in clock ticks since; elsewhere what ``ps`` says.
    """
    if _has_proc():
        try:
            # The name, in parentheses, may hold anything; after its end come the state, the parent, ... the start time.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    shown = _ps(pid, "stat=,lstart=").split(maxsplit=1)
    return None if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()


def command_line(pid: int) -> tuple[str, ...]:
    """Return the arguments that a process was started with, as the system shows them; none where it is dead or not ours to see."""
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
    """Signal the group that a worker leads; return whether it leads one.

    ``pid`` is a child that was not collected yet, or was just found in ``/proc``. A process in somebody else's group is left alone:
    that group holds what we did not start.
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
