"""What a load costs beside processor time: bytes, joules, seconds of a GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections import defaultdict
from pathlib import Path
from typing import Final

LOOPBACK: Final = Path("/sys/class/net/lo/statistics/tx_bytes")
POWERCAP: Final = Path("/sys/class/powercap")
#: A package of a processor; its parts have a second number and are in it.
_PACKAGE: Final = re.compile(r"intel-rapl:\d+")
GPU_POLL_S: Final = 0.2
_PARTITION: Final = re.compile(r"(?P<topic>.+)-\d+")


def loopback_bytes() -> int | None:
    """Return the bytes that this machine has sent to itself, with TCP's headers, or None."""
    try:
        return int(LOOPBACK.read_text())
    except (OSError, ValueError):
        return None


def log_bytes(folder: Path, prefix: str) -> dict[str, int]:
    """Return the bytes of each topic's logs in a broker's folder, by name without prefix."""
    found: defaultdict[str, int] = defaultdict(int)
    for place in folder.glob(f"**/{prefix}*-*"):
        match = _PARTITION.fullmatch(place.name)
        if match is not None and place.is_dir():
            # a segment is allocated ahead of its records on some systems: count blocks in use
            sizes = (file.stat() for file in place.glob("*.log"))
            found[match["topic"].removeprefix(prefix)] += sum(min(at.st_size, at.st_blocks * 512) for at in sizes)
    return dict(found)


class Joules:
    """Energy of the processor packages, as Linux's power capping shows it (RAPL)."""

    def __init__(self, root: Path = POWERCAP) -> None:
        places = sorted(root.iterdir()) if root.is_dir() else []
        self._packages = [place for place in places if _PACKAGE.fullmatch(place.name)]
        self._before = self._read()

    @property
    def why_not(self) -> str | None:
        """Why there is no energy; None where there is."""
        if not self._packages:
            return "the machine shows no energy counters (no intel-rapl under /sys/class/powercap)"
        return None if self._before else "the energy counters may be read by root alone"

    def since(self) -> float | None:
        """Return the joules since this object was made, None where unknown."""
        after = self._read()
        if not self._before or not after:
            return None
        grown = 0
        for package, (before, now) in zip(self._packages, zip(self._before, after, strict=True), strict=True):
            most = int((package / "max_energy_range_uj").read_text())
            grown += now - before if now >= before else now + most - before
        return grown / 1e6

    def _read(self) -> list[int]:
        try:
            return [int((package / "energy_uj").read_text()) for package in self._packages]
        except OSError:
            return []


class GpuSeconds:
    """Time in which a GPU was busy: its utilisation, read several times a second."""

    def __init__(self) -> None:
        self.why_not = None if shutil.which("nvidia-smi") else "no GPU: nvidia-smi is not installed"
        self._busy_s = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> GpuSeconds:
        if self.why_not is None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def value(self) -> float | None:
        """Return the seconds, of all GPUs together; None without one."""
        return None if self.why_not else self._busy_s

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._end.wait(GPU_POLL_S):
            done = subprocess.run(query, capture_output=True, text=True, check=False)
            shares = [float(line) / 100 for line in done.stdout.split() if line.replace(".", "").isdigit()]
            self._busy_s += GPU_POLL_S * sum(shares)
