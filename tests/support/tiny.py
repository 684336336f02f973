"""A tiny log with its catalogue, and one artifact trained on it, shared by all tests of a run."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from tests.support import shared_run
from tools.main import main

T0 = 1_600_000_000_000
N_USERS, N_EVENTS_EACH, N_ITEMS = 60, 15, 40


def write_log(path: Path, n_users: int = N_USERS, n_each: int = N_EVENTS_EACH) -> Path:
    """Write a log in which users walk through the items, so that a model can learn the order."""
    rng = random.Random(7)
    rows: list[tuple[int, str, str]] = []
    for user in range(n_users):
        ts = T0 + 1_000 * user
        for step in range(n_each):
            ts += rng.randrange(60_000, 600_000)
            rows.append((ts, f"u{user}", f"i{(3 * user + 2 * step + rng.randrange(4)) % N_ITEMS}"))
    lines = [f"{user},{item},{ts}" for ts, user, item in sorted(rows)]
    path.write_text("\n".join(["user_id,item_id,ts", *lines, ""]))
    return path


def write_items(path: Path) -> Path:
    """Write the catalogue of that log."""
    lines = [f"i{i},Item number {i},category {i % 5}" for i in range(N_ITEMS)]
    path.write_text("\n".join(["item_id,title,category", *lines, ""]))
    return path


def write_named_files(folder: Path) -> None:
    """Write the log, the catalogue and some events.

    Files and columns have the names that README and ``docs`` use.
    """
    rows = write_log(folder / "log.csv").read_text().splitlines()[1:]
    (folder / "history.csv").write_text("\n".join(["uid,item_id,time", *rows, ""]))
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,timestamp", *rows, ""]))
    items = write_items(folder / "items.csv").read_text().splitlines()[1:]
    (folder / "catalogue.csv").write_text("\n".join(["sku,name,category", *items, ""]))
    events = [
        f'{{"user_id":"{user}","item_id":"i{i}","type":"view","ts":{T0 + 86_400_000 + i}}}'
        for user in ("u1", "u42")
        for i in range(5)
    ]
    (folder / "events.jsonl").write_text("\n".join([*events, ""]))


@cache
def artifact() -> Path:
    """Return the folder of an artifact of that log, trained once; callers must not change it."""

    def train(folder: Path) -> None:
        log, items = write_log(folder / "log.csv"), write_items(folder / "items.csv")
        options = ["--items", str(items), "--encoder", "fake", "--device", "cpu"]
        assert main(["train", str(log), "--out", str(folder / "artifact"), *options]) == 0

    return shared_run.once("tiny", train) / "artifact"


def homophily_artifact() -> Path:
    """Return the folder of an artifact of users whose features and follows tell what they like.

    It is trained once; callers must not change it.
    """

    def save(folder: Path) -> None:
        from models.artifact.artifact import save_artifact
        from tests.support import tiny_models

        save_artifact(tiny_models.homophily_artifact(), folder / "artifact")

    return shared_run.once("homophily", save) / "artifact"


def returning_artifact() -> Path:
    """Return the folder of an artifact of users who return, whose lists may hold what they had.

    It is trained once; callers must not change it.
    """

    def save(folder: Path) -> None:
        from models.artifact.artifact import save_artifact
        from tests.support import tiny_models

        save_artifact(tiny_models.returning_artifact(), folder / "artifact")

    return shared_run.once("returning", save) / "artifact"
