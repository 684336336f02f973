"""Fuzz the decoders with libFuzzer, guided by coverage; needs ``atheris``, unlike the normal tests.

Usage: ``python -m tests.fuzz CORPUS_FOLDER [libFuzzer options]``, for example ``-max_total_time=300
-timeout=10``. Findings are written as files ``crash-*``; ``python -m tests.fuzz crash-...`` runs
one again.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Seed the corpus, instrument our decoders, and fuzz until the options' limit."""
    fuzzer: Any = importlib.import_module("atheris")
    with fuzzer.instrument_imports(include=["streams", "tools", "tests.fuzz.targets"]):
        from tests.fuzz import targets
    from tests.fuzz.corpus import SEEDS

    folder = Path(tempfile.mkdtemp(prefix="headrace-fuzz-"))
    checks = targets.targets(folder)
    corpus = next((Path(name) for name in sys.argv[1:] if Path(name).is_dir()), None)
    if corpus is not None:
        for n, seed in enumerate(SEEDS):
            for i in range(len(checks)):
                (corpus / f"seed-{n:03d}-{i:02d}").write_bytes(bytes([i]) + seed)
    fuzzer.Setup(sys.argv, lambda data: targets.run(data, checks))
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
