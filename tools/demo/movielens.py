"""The demo's data: MovieLens-100K (Harper and Konstan, 2015), from a wheel of the registry.

The data is no part of headrace; its terms allow study. The wheel is pinned by hash, and the data
stays in the user's cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.files.atomic import replaced_folder
from streams.errors import RunError

WHEEL: Final = "recbole==1.2.1"
WHEEL_SHA256: Final = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
FOLDER: Final = "recbole/dataset_example/ml-100k"


@dataclass(frozen=True)
class DemoLog:
    """A log and its catalogue; the columns map contract names to those of the files."""

    events: Path
    items: Path
    columns: str
    item_columns: str


def cache_dir() -> Path:
    """Return the user's cache directory of headrace."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "headrace"


def movielens_100k() -> DemoLog:
    """Return MovieLens-100K; the first use fetches the wheel without its dependencies, 2 MB.

    Raises
    ------
    RunError
        When the registry does not answer, or gives a file with another hash.
    """
    folder = cache_dir() / "ml-100k"
    log = DemoLog(
        folder / "ml-100k.inter",
        folder / "ml-100k.item",
        "user_id=user_id,item_id=item_id,ts=timestamp",
        "item_id=item_id,title=movie_title,category=class",
    )
    if not (log.events.exists() and log.items.exists()):
        _fetch(folder, [log.events.name, log.items.name])
    return log


def _fetch(folder: Path, names: list[str]) -> None:
    """Download the wheel and put the named files into ``folder`` in one step."""
    with replaced_folder(folder) as unpacked, tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        requirement = scratch / "requirement.txt"
        requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        done = subprocess.run(
            [*command, "-r", str(requirement), "-d", str(scratch)], capture_output=True, text=True, check=False
        )
        wheels = list(scratch.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunError(
                f"MovieLens-100K: cannot download {WHEEL}: {last}; or use your own log: --log FILE --items FILE"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in names:
                (unpacked / name).write_bytes(wheel.read(f"{FOLDER}/{name}"))
