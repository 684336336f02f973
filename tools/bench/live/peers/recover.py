"""Recovers the sequencer's windows from their topic, in a process of its own.

``python -m tools.bench.live.peers.recover`` takes its settings from the environment and prints
one JSON line: records read, seconds, processor time and resident memory. The clock starts when the
program is loaded, and includes opening the store.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import uvloop
from faust.types import TP

from streams.sequencer.agent import build_sequencer
from streams.settings.load import load_settings
from streams.state.recovery import restore
from tools.cli import write_line

TIMEOUT_S = 120.0


async def _recover() -> dict[str, float]:
    settings = load_settings()
    os.makedirs(settings.sequencer.data_dir, exist_ok=True)
    app = build_sequencer(settings)
    topic, partitions = settings.kafka.topic("sequences"), range(settings.kafka.partitions)
    began, cpu = time.perf_counter(), time.process_time()
    n = await restore(settings.kafka, app.tables["windows"], [TP(topic, p) for p in partitions], TIMEOUT_S)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return {"records": n, "seconds": seconds, "cpu_s": cpu_s, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Return the peak of resident memory; 0 where the system does not say.

    ``getrusage`` would begin with the peak of the process before ``exec``.
    """
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s+(\d+)", status.read_text("utf-8")) if status.exists() else None
    return int(peak[1]) / 1024 if peak else 0.0


def main() -> None:
    """Recover once and print the result."""
    write_line(json.dumps(uvloop.run(_recover())))


if __name__ == "__main__":
    main()
