"""The artifact and the catalogue of a drill. A drill trains a small one where none is named."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.contract.records import VERSION, Item
from streams.errors import RunError

TRAIN_LIMIT_S: Final = 300
START_MS: Final = 1_700_000_000_000


@dataclass(frozen=True)
class MadeLog:
    """Size of a made log: by default so small that training takes seconds."""

    n_items: int = 300
    n_users: int = 60
    n_events_each: int = 30


def make_artifact(folder: Path, seed: int, size: MadeLog = MadeLog(), options: Sequence[str] = ()) -> Path:
    """Train an artifact on a seeded log of users who walk through items, with the fake encoder.

    Parameters
    ----------
    folder : the log, the catalogue and the directory ``artifact`` are written into it
    options : further ones of ``headrace train``

    Raises
    ------
    RunError
        When the training fails or takes longer than five minutes.
    """
    rng = random.Random(seed)  # noqa: S311 - a reproducible log, nothing secret
    rows = []
    for user in range(size.n_users):
        item = rng.randrange(size.n_items)
        for step in range(size.n_events_each):
            item = (item + rng.randrange(1, 4)) % size.n_items
            rows.append((START_MS + 600_000 * step + 1_000 * user, f"u{user}", f"i{item}"))
    log, items, out = folder / "log.csv", folder / "items.csv", folder / "artifact"
    log.write_text("user_id,item_id,ts\n" + "".join(f"{user},{item},{ts}\n" for ts, user, item in sorted(rows)))
    listed = "".join(f"i{i},Item number {i},category {i % 7}\n" for i in range(size.n_items))
    items.write_text(f"item_id,title,category\n{listed}")
    argv = [sys.executable, "-m", "tools.main", "train", str(log), "--items", str(items), "--out", str(out)]
    _run([*argv, "--encoder", "fake", "--device", "cpu", "--seed", str(seed), *options, "--json"])
    return out


def _run(argv: list[str]) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=TRAIN_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise RunError(f"training: not done after {TRAIN_LIMIT_S} s; name an artifact with --artifact DIR") from exc
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunError(f"training: exit code {done.returncode}: {last}; name an artifact with --artifact DIR")


def catalogue_of(artifact: Path) -> list[Item]:
    """Return the items that the artifact was trained on, each with a title made from its id.

    Raises
    ------
    RunError
        When the artifact has no readable manifest.
    """
    try:
        item_ids = json.loads((artifact / "manifest.json").read_bytes())["item_ids"]
    except (OSError, ValueError, KeyError) as exc:
        raise RunError(f"--artifact {artifact}: no readable manifest: {exc}; make one with headrace train") from exc
    return [Item(VERSION, item_id, f"Item {item_id}") for item_id in item_ids]
