"""Watches a drill's workers over time: memory, open files, lag and the size of their stores."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tools.drills.session import Drill

EVERY_S: Final = 3.0
MB: Final = 1_000_000


@dataclass(frozen=True)
class Sample:
    """One look at one process: ``at_s`` of a monotonic clock, resident bytes, open files."""

    at_s: float
    rss_bytes: int
    n_files: int


def slope_mb_per_min(samples: Sequence[Sample]) -> float:
    """Return the growth of memory in MB a minute, by least squares; 0 without two samples."""
    n = len(samples)
    mean_t = sum(s.at_s for s in samples) / n if n else 0.0
    spread = sum((s.at_s - mean_t) ** 2 for s in samples)
    if spread == 0:
        return 0.0
    mean_rss = sum(s.rss_bytes for s in samples) / n
    return 60 / MB * sum((s.at_s - mean_t) * (s.rss_bytes - mean_rss) for s in samples) / spread


def after_warm_up(samples: Sequence[Sample], warm_up_s: float) -> list[Sample]:
    """Return the samples of a process that came ``warm_up_s`` seconds or more after its first."""
    return [sample for sample in samples if sample.at_s >= samples[0].at_s + warm_up_s]


def grown_files(samples: Sequence[Sample]) -> int:
    """Return how many more files were open than at the first sample, at most; 0 without samples."""
    return max((s.n_files - samples[0].n_files for s in samples), default=0)


class Watch:
    """Samples the workers every few seconds while the block of :func:`watching` runs.

    Attributes
    ----------
    lives : samples of each process, by the worker's label and the process id
    """

    def __init__(self, drill: Drill) -> None:
        self._drill = drill
        self.lives: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
        self.max_lag: dict[str, int] = {}
        self.store_bytes: list[int] = []

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.look()
            for name, lag in (await self._drill.lag()).items():
                self.max_lag[name] = max(lag, self.max_lag.get(name, 0))
            folders = [self._drill.folder / worker.label for worker in self._drill.cluster.workers]
            self.store_bytes.append(sum([await asyncio.to_thread(folder_bytes, folder) for folder in folders]))
            await asyncio.sleep(EVERY_S)

    def look(self) -> None:
        """Take one sample of each process that runs."""
        now = time.monotonic()
        for worker in self._drill.cluster.workers:
            pid, rss_bytes = worker.pid, worker.rss_bytes()
            if pid is not None and rss_bytes:
                self.lives[worker.label, pid].append(Sample(now, rss_bytes, worker.n_files()))

    def growth_mb(self, since_s: float) -> dict[str, float]:
        """Return the largest growth in MB, by label, since the time ``since_s`` (monotonic)."""
        grown: dict[str, float] = {}
        for (label, _pid), samples in self.lives.items():
            before = [s.rss_bytes for s in samples if s.at_s <= since_s]
            after = [s.rss_bytes for s in samples if s.at_s > since_s]
            if before and after:
                grown[label] = round((max(after) - before[-1]) / MB, 1)
        return grown

    def report(self, warm_up_s: float) -> dict[str, Any]:
        """Return the figures of every life, for the drill's report."""
        return {
            "lives": [
                {
                    "worker": label,
                    "seconds": round(samples[-1].at_s - samples[0].at_s, 1),
                    "rss_mb": round(samples[-1].rss_bytes / MB, 1),
                    "max_rss_mb": round(max(s.rss_bytes for s in samples) / MB, 1),
                    "slope_mb_per_min": round(slope_mb_per_min(after_warm_up(samples, warm_up_s)), 2),
                    "files": samples[-1].n_files,
                    "max_files": max(s.n_files for s in samples),
                    "grown_files": grown_files(after_warm_up(samples, warm_up_s)),
                }
                for (label, _pid), samples in self.lives.items()
            ],
            "max_sum_rss_mb": self._max_sum_mb(),
            "max_lag": self.max_lag,
            "store_mb": [round(size / MB, 1) for size in (self.store_bytes[:1] + self.store_bytes[-1:])],
        }

    def _max_sum_mb(self) -> float:
        sums: defaultdict[float, int] = defaultdict(int)
        for samples in self.lives.values():
            for sample in samples:
                sums[sample.at_s] += sample.rss_bytes
        return round(max(sums.values(), default=0) / MB, 1)


@contextlib.asynccontextmanager
async def watching(drill: Drill) -> AsyncIterator[Watch]:
    """Watch the workers of a drill while the block runs."""
    watch = Watch(drill)
    running = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; files that vanish meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
