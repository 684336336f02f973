"""Shows how much of some files is read, whatever reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.progress import Progress, TaskID

from tools.files.formats.named_files import find_files
from tools.files.formats.read_bytes import READ
from tools.reports.progress_lines import BYTES

#: Seconds between two looks at how far the reading is.
LOOK_EVERY_S: Final = 0.2


@contextmanager
def told_reading(bar: Progress, what: str, paths: Sequence[Path]) -> Iterator[TaskID]:
    """Give a task that ends with the last byte of the files, which are read in the ``with`` block.

    Parameters
    ----------
    bar : where it is shown
    what : the description of the task
    paths : as the user named them: files, folders, patterns or ``-``

    Raises
    ------
    InputError
        When a path names nothing.
    """
    total = sum(file.path.stat().st_size for file in find_files(paths))
    task = bar.add_task(what, total=total, unit=BYTES)
    ended = threading.Event()
    begun = READ.total()
    looking = threading.Thread(target=_look, args=(bar, task, ended, begun, total), name="reading", daemon=True)
    looking.start()
    try:
        yield task
    finally:
        ended.set()
        looking.join()
    bar.update(task, completed=total)


def _look(bar: Progress, task: TaskID, ended: threading.Event, begun: int, total: int) -> None:
    while not ended.wait(LOOK_EVERY_S):
        bar.update(task, completed=min(READ.total() - begun, total))
