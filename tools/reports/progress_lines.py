"""Progress without a terminal: a line at times, where a terminal shows bars."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from streams.printable import counted

#: Seconds between two lines.
LINE_EVERY_S: Final = 10.0
#: The unit of a task that counts the bytes of a file.
BYTES: Final = "bytes"
_SIZES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class ProgressLines(Progress):
    """A progress that draws nothing. From its start to its end it writes a line every few seconds.

    A line has the newest task's description, count, ``note`` and expected end. A command that ends
    before the first line is due writes none.

    Parameters
    ----------
    write : takes a line
    every_s : seconds between two lines
    columns, options : as rich's ``Progress`` has them

    Notes
    -----
    A task may have these fields: ``unit``, the noun of what is counted, in plural; ``note``, what
    else is known now, such as a metric; ``base``, what was done before this run began; ``limit_s``,
    the most seconds that the task takes; ``ended``, whether it ended before its total; ``after``,
    how long the tasks that follow take at most, as a share of this one.
    """

    def __init__(
        self, *columns: ProgressColumn, write: Callable[[str], None], every_s: float = LINE_EVERY_S, **options: Any
    ) -> None:
        super().__init__(*columns, disable=True, **options)
        self._write, self._every_s = write, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress-lines", daemon=True)

    def start(self) -> None:
        """Begin to write lines."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more lines."""
        self._ended.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._ended.wait(self._every_s):
            shown = [task for task in self.tasks if task.visible]
            if shown:
                going = [task for task in shown if not (task.finished or task.fields.get("ended"))]
                self._write(line_of((going or shown)[-1]))


class CountColumn(ProgressColumn):
    """The count of a bar: ``3 of 16 epochs``."""

    def render(self, task: Task) -> Text:
        """Return the count."""
        return Text(count_of(task))


class NoteColumn(ProgressColumn):
    """What else is known now, such as a metric."""

    def render(self, task: Task) -> Text:
        """Return the note; empty without one."""
        return Text(task.fields.get("note", ""))


def line_of(task: Task) -> str:
    """Return a task's progress as one line: its stage, its count, its note and its expected end."""
    elapsed = task.elapsed or 0.0
    parts = [f"{task.description}: {count_of(task)}"]
    if task.total and not task.finished:
        parts[0] += f" ({task.completed / task.total:.0%})"
    if task.fields.get("note"):
        parts.append(task.fields["note"])
    left = seconds_left(task)
    if left is not None:
        parts.append(f"about {duration(left)} left, ends about {clock(left)}")
        if task.fields.get("after"):
            parts.append(f"all done by about {clock(left + task.fields['after'] * (elapsed + left))}")
    else:
        parts.append(f"{'done, goes on' if task.finished else 'running'} for {duration(elapsed)}")
    return "; ".join(parts)


def count_of(task: Task) -> str:
    """Return how much of a task is done, with its total where that is known."""
    unit = task.fields.get("unit", "")
    if unit == BYTES:
        return size(task.completed) if task.total is None else f"{size(task.completed)} of {size(task.total)}"
    done = f"{int(task.completed):,}" + ("" if task.total is None else f" of {int(task.total):,}")
    return f"{done} {unit}".rstrip()


def seconds_left(task: Task) -> float | None:
    """Return the seconds that the rest takes at the mean speed so far, None where it is unknown."""
    done = task.completed - task.fields.get("base", 0)
    if task.finished or not task.total or done <= 0 or not task.elapsed:
        return None
    left: float = task.elapsed / done * (task.total - task.completed)
    limit_s: float | None = task.fields.get("limit_s")
    return left if limit_s is None else min(left, max(0.0, limit_s - task.elapsed))


def clock(seconds_from_now: float = 0.0) -> str:
    """Return a time of day, local, with its day where that is not today."""
    now = datetime.now(UTC).astimezone()
    then = now + timedelta(seconds=seconds_from_now)
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """Return a length of time: ``40 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(n_bytes: float) -> str:
    """Return a number of bytes: ``512 bytes``, ``3.4 MiB``."""
    for unit, name in _SIZES:
        if n_bytes >= unit:
            return f"{n_bytes / unit:.1f} {name}"
    return counted(int(n_bytes), "byte")
