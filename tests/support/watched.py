"""Runs commands and records what they print, open and connect to, and their peak memory.

Usage: ``python -m tests.support.watched SPEC.json``. The file holds ``runs`` (name to arguments of
``headrace``), ``outside`` (folders in which no file may be opened) and ``result`` (the path of the
findings, as JSON). Linux only: inotify watches the folders too, because some libraries open files
without Python.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

IN_ACCESS_OPEN: Final = 0x01 | 0x20
_EVENT: Final = struct.Struct("iIII")
#: Audit events that an artifact must never cause, and events whose arguments are recorded.
FORBIDDEN: Final = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "urllib.Request")

seen: list[str] = []


def audit(event: str, args: tuple[Any, ...]) -> None:
    """Record connections and each event that would run code."""
    if event == "socket.connect":
        seen.append(f"connect {args[1]}")
    elif event == "socket.getaddrinfo":
        seen.append(f"look up {args[0]}")
    elif event in FORBIDDEN:
        seen.append(f"{event} {str(args)[:200]}")


class Watch:
    """An inotify watch on folders and their content."""

    def __init__(self, folders: list[Path]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        for folder in folders:
            for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                if self._libc.inotify_add_watch(self._fd, bytes(path), IN_ACCESS_OPEN) < 0:
                    raise OSError(ctypes.get_errno(), f"no watch on {path}")

    def opened(self) -> list[str]:
        """Return the names of the files that were opened since the last call."""
        names, data = [], b""
        while True:
            try:
                data += os.read(self._fd, 1 << 16)
            except BlockingIOError:
                break
        while data:
            _, _, _, length = _EVENT.unpack_from(data)
            names.append(data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode())
            data = data[_EVENT.size + length :]
        return names


@contextmanager
def printed(into: dict[str, str]) -> Iterator[None]:
    """Catch standard output and error, also what libraries in other languages write."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, old, file, name in ((1, kept[0], out, "out"), (2, kept[1], err, "err")):
                os.dup2(old, target)
                os.close(old)
                file.seek(0)
                into[name] = file.read().decode("utf-8", "replace")


def status_kib(field: str) -> int:
    """Return a size of this process, such as VmRSS, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field + ":")).split()[1])


def run(arguments: list[str], watch: Watch) -> dict[str, Any]:
    """Run a command; return its code, its output, and what it opened and connected to.

    The last value is its memory's peak above what was in use before, in KiB.
    """
    from tools.main import main

    found: dict[str, Any] = {}
    seen.clear()
    watch.opened()
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = status_kib("VmRSS")
    with printed(found):
        try:
            found["code"] = main(arguments)
        except SystemExit as exc:
            found["code"] = exc.code
        except BaseException:
            traceback.print_exc()
            found["code"] = "raised"
    return found | {"peak_kib": status_kib("VmHWM") - before, "seen": list(seen), "opened": watch.opened()}


def main() -> None:
    """Run what the file says and write what was seen."""
    spec = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    watch = Watch([Path(folder) for folder in spec["outside"]])
    sys.addaudithook(audit)
    found = {name: run(arguments, watch) for name, arguments in spec["runs"].items()}
    Path(spec["result"]).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
