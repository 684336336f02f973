"""A hundred mutated files through every loader, in 2 GB of address space: only refusals."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.fuzz.corpus import mutated
from tests.support import hostile, tiny

N_FILES = 100
LIMIT_BYTES = 2 << 30
ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the address space"), pytest.mark.long]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with artifact ``a``, text model ``bert``, and a ``corpus`` of mutations."""
    shop = hostile.good(tmp_path_factory.mktemp("loaders"))
    folder = shop / "models"
    rng = random.Random(20_261)
    (folder / "corpus").mkdir()
    for number in range(N_FILES):
        data = mutated(rng) if number % 2 else mutated(rng, _files(shop))
        (folder / "corpus" / f"{number:03d}").write_bytes(data)
    return folder


def _files(shop: Path) -> list[bytes]:
    """Return good files of each form."""
    text = (shop / "log.csv").read_bytes()[:2_000]
    table = pa.table({"user_id": ["u", "v"], "item_id": ["i", "j"], "ts": [tiny.T0, tiny.T0], "title": ["x", "y"]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    found = [gzip.compress(text), zstandard.compress(text), sink.getvalue().to_pybytes(), b"list_size = 10\n"]
    names = [
        "a/manifest.json",
        "a/tensors.safetensors",
        "bert/config.json",
        "bert/tokenizer.json",
        "bert/model.safetensors",
    ]
    return found + [(shop / "models" / name).read_bytes() for name in names]


def _run(group: str, folder: Path, limit: int) -> subprocess.CompletedProcess[str]:
    # one arena and one pool: what allocators reserve is not what is asked of them
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    environ |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "tests.fuzz.loaders", group, str(folder), str(limit)]
    return subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(("group", "n_loaders"), [("files", 43), ("models", 10)])
def test_a_hundred_files_are_refused_or_read(folder: Path, group: str, n_loaders: int) -> None:
    """Loaders raise only refusals of one line, and none lacks memory."""
    done = _run(group, folder, LIMIT_BYTES)
    assert done.returncode == 0, done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["files"] == N_FILES
    assert len(found["loaders"]) == n_loaders
    assert all(sum(counts.values()) == N_FILES for counts in found["loaders"].values())
    for name, counts in found["loaders"].items():
        if name.startswith(("artifact", "checkpoint")):
            assert counts["refused"] >= N_FILES - 5, name  # a change may be a harmless one


def test_the_limit_is_one(folder: Path, tmp_path: Path) -> None:
    """With a small part of the limit the same files are not read."""
    (tmp_path / "corpus").symlink_to(folder / "corpus")
    assert _run("files", tmp_path, LIMIT_BYTES // 40).returncode != 0
