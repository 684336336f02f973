"""What a worker says about itself in a benchmark: its stage times, and its processor time."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from streams.health.metric_names import PREFIX
from streams.health.stage_times import BUCKETS_MS
from tools.workers.process import Worker

#: Fields of /proc/PID/stat after the name: user and system time in clock ticks.
_UTIME: Final = 11
PERCENTS: Final = (50, 90, 99)


def memory_mb(pid: int | str = "self") -> dict[str, float]:
    """Return memory of a process in MB, what the system says of it.

    Returns
    -------
    dict ``resident``; ``proportional``, in which a page counts for a share where several processes
        hold it; ``private``, which no other process holds; and ``peak`` of the resident memory
    """
    lines = [Path(f"/proc/{pid}/{name}").read_text("utf-8") for name in ("smaps_rollup", "status")]
    found = {
        line.split()[0]: int(line.split()[1]) / 1024 for text in lines for line in text.splitlines() if " kB" in line
    }
    return {
        "resident": found["Rss:"],
        "proportional": found["Pss:"],
        "private": found["Private_Clean:"] + found["Private_Dirty:"],
        "peak": found["VmHWM:"],
    }


@dataclass(frozen=True)
class StageCounts:
    """Histograms by stage: how many samples lie at or below each bound, in milliseconds."""

    totals: dict[str, dict[float, float]]
    sums: dict[str, float]

    def since(self, earlier: StageCounts) -> StageCounts:
        """Return the samples that came since an earlier look."""
        totals = {
            stage: {bound: n - earlier.totals.get(stage, {}).get(bound, 0.0) for bound, n in bounds.items()}
            for stage, bounds in self.totals.items()
        }
        return StageCounts(totals, {stage: s - earlier.sums.get(stage, 0.0) for stage, s in self.sums.items()})

    def quantiles(self) -> dict[str, dict[str, float | None]]:
        """Return mean, median, 90th and 99th percentile of each stage, in milliseconds.

        A percentile is interpolated between the bounds of its bucket. All are None for a stage
        without a sample.
        """
        found: dict[str, dict[str, float | None]] = {}
        for stage, bounds in self.totals.items():
            n = bounds[math.inf]
            mean = round(self.sums[stage] / n, 2) if n else None
            found[stage] = {"mean": mean} | {f"p{q}": _quantile(bounds, q / 100) for q in PERCENTS}
        return found


def _quantile(bounds: dict[float, float], q: float) -> float | None:
    wanted = q * bounds[math.inf]
    lower = below = 0.0
    for bound, n in sorted(bounds.items()):
        if n >= wanted > 0:
            upper = min(bound, BUCKETS_MS[-1])
            return round(lower + (upper - lower) * (wanted - below) / (n - below), 2)
        lower, below = bound, n
    return None


def stage_counts(worker: Worker) -> StageCounts:
    """Return the histograms of a worker's stages since its start.

    Raises
    ------
    WorkerError
        When its page does not answer.
    """
    totals: defaultdict[str, dict[float, float]] = defaultdict(dict)
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(worker.metrics()):
        if family.name == f"{PREFIX}stage_ms":
            for sample in family.samples:
                stage = sample.labels["stage"]
                if sample.name.endswith("_bucket"):
                    totals[stage][float(sample.labels["le"])] = sample.value
                elif sample.name.endswith("_sum"):
                    sums[stage] = sample.value
    return StageCounts(dict(totals), sums)


def cpu_s(pid: int | None) -> float:
    """Return a process's processor time since its start in seconds.

    It is 0 where the system hides the time.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / os.sysconf("SC_CLK_TCK")
