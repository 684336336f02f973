"""A compiled loop is what its source says, also the source of the loops that it calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HELPER = "from models.base.compiled import compiled\n\n@compiled\ndef step(x):\n    return x + {step}\n"
LOOP = "from helper import step\nfrom models.base.compiled import compiled\n\n@compiled\ndef twice(x):\n    return step(step(x))\n"


def twice(folder: Path) -> int:
    """Return the loop's answer to 0 in a new process."""
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[4])])
    command = [sys.executable, "-c", "from loop import twice; print(twice(0))"]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return int(subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60).stdout)


def test_a_loop_is_compiled_again_when_a_loop_that_it_calls_changed(tmp_path: Path) -> None:
    """Numba alone compares the loop's own module, and would go on with the old one."""
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "helper.py").write_text(HELPER.format(step=1))
    assert twice(tmp_path) == 2
    kept = list((tmp_path / "__pycache__").glob("loop.twice-*.nbi"))
    assert len(kept) == 1
    written_s = kept[0].stat().st_mtime
    assert twice(tmp_path) == 2
    assert kept[0].stat().st_mtime == written_s, "what did not change is loaded"
    (tmp_path / "helper.py").write_text(HELPER.format(step=21))
    assert twice(tmp_path) == 42
