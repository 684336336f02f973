"""Log files of workers: one for each worker and run of ``headrace up``, bounded in size and number.

::

    .headrace/logs/sequencer-0.20261129T061500-4711.log      time and process id of the ``up``
    .headrace/logs/sequencer-0.20261129T061500-4711.log.1    older output, beyond MAX_BYTES

So two ``up`` in one folder never write to one file, and never quote one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Final

from tools.workers.processes import parse_pid, process_identity

MAX_BYTES: Final = 10_000_000
#: The files of this many runs are kept for each worker.
KEPT_RUNS: Final = 5


def new_log(folder: Path, stem: str) -> Path:
    """Return the path of a worker's log for this run; remove the files of the oldest ended runs."""
    runs: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"{stem}.*.log*")):
        runs.setdefault(path.name.split(".")[1], []).append(path)
    for run in sorted(runs)[: max(0, len(runs) + 1 - KEPT_RUNS)]:
        if not _is_alive(run.rpartition("-")[2]):
            for path in runs[run]:
                path.unlink(missing_ok=True)
    return folder / f"{stem}.{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}.log"


def rotate(path: Path, max_bytes: int = MAX_BYTES) -> bool:
    """Move a log's content to ``.1`` when it is larger than ``max_bytes``; return whether it was.

    The file itself stays and is emptied, because the worker goes on appending to it.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size > max_bytes:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)
            return True
    return False


def _is_alive(text: str) -> bool:
    pid = parse_pid(text)
    return pid is not None and pid != os.getpid() and process_identity(pid) is not None


def as_text(line: str) -> str:
    """Return a line of a worker's log in the text layout; ``log_format=json`` writes the other."""
    if not line.startswith("{"):
        return line
    try:
        found = json.loads(line)
        return f"[{found['time']}] [{found['pid']}] [{found['level']}] {found['message']}"
    except (ValueError, KeyError):
        return line
