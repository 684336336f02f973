"""One program of ``headrace bench lists``; it runs in older checkouts, too.

It reads requests as lines of JSON, each with windows by number, and answers each with a line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

try:
    from models.artifact.artifact import load_artifact
    from models.ranking.pipeline import Pipeline, build_catalogue
except ImportError:  # before there were rooms for models
    from models.artifact import load_artifact  # type: ignore[attr-defined, no-redef]
    from models.catalogue import build_catalogue  # type: ignore[import-not-found, no-redef]
    from models.recommend import Pipeline  # type: ignore[import-not-found, no-redef]
try:
    from models.base.types import Behaviour
except ImportError:
    from models.types import Behaviour  # type: ignore[import-not-found, no-redef]
try:
    from models.base.types import Behaviours
except ImportError:
    Behaviours = None  # type: ignore[assignment, misc]

K = 10
#: Behaviours of one product of the limit: their hidden values stay in a core's cache.
STEP = 512


class Shop:
    """The artifact, its catalogue and the windows, from files."""

    def __init__(self, folder: Path) -> None:
        self.artifact = load_artifact(folder / "artifact")
        arrays = np.load(folder / "items.npz")
        ids = self.artifact.manifest.item_ids
        self.items = dict(zip(ids, arrays["vectors"], strict=True))
        self.catalogue = build_catalogue(self.artifact, self.items, 1)
        self.rules = folder / "rules.toml"
        kinds = ["view", "click", "purchase"]
        self.windows: dict[int, list[Any]] = {}
        for length in arrays["lengths"].tolist():
            rows, types, times = (arrays[f"{name}-{length}"].tolist() for name in ("rows", "types", "times"))
            self.windows[length] = [
                self._window([ids[row] for row in of_user], [kinds[kind] for kind in of_types], of_times)
                for of_user, of_types, of_times in zip(rows, types, times, strict=True)
            ]

    @staticmethod
    def _window(item_ids: list[str], types: list[str], times: list[int]) -> Any:
        """Return a window in the form that the recommender hands to the pipeline."""
        if Behaviours is not None:
            return Behaviours(item_ids, types, times)
        return [Behaviour(*one) for one in zip(item_ids, types, times, strict=True)]


def pipeline(shop: Shop) -> Callable[[list[Any]], Any]:
    """Make the lists of a batch."""
    made = Pipeline(shop.artifact, k=K)
    return lambda windows: made.recommend(shop.catalogue, windows, [set()] * len(windows))


def under_rules(shop: Shop) -> Callable[[list[Any]], Any]:
    """Make the lists of a batch under rules.

    An item has one of 20 categories, every fifth has a tag.
    """
    from models.ranking.catalogue.ruled import ruled
    from models.rules.facts import ItemFacts
    from models.rules.row_rules import Rules

    now_ms = 1_700_000_000_000
    facts = {
        item_id: ItemFacts(
            (f"c{i % 20}",), (f"t{i % 25}",) if i % 5 == 0 else (), float(i % 100), now_ms - i * 3_600_000
        )
        for i, item_id in enumerate(shop.items)
    }
    whole = build_catalogue(shop.artifact, shop.items, 1, facts=facts)
    catalogue = ruled(whole, Rules.of(shop.rules.read_text("utf-8"), K), now_ms)
    made = Pipeline(shop.artifact, k=K)

    def recommend(windows: list[Any]) -> Any:
        seeds = np.arange(len(windows), dtype=np.uint64)
        return made.recommend(catalogue, windows, [set()] * len(windows), seeds=seeds)

    return recommend


def loop(shop: Shop) -> Callable[[list[Any]], Any]:
    """Make the lists of a batch one by one, with the same models."""
    one = pipeline(shop)
    return lambda windows: [one([window]) for window in windows]


def peer(shop: Shop) -> Callable[[list[Any]], Any]:
    """Let implicit recommend from matrix factorisation alone, users folded in beforehand."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    from models.ranking.candidates import packed_windows, user_states
    from models.sequence.serving import ServedSequence

    sequence, catalogue = ServedSequence(shop.artifact.sequence), shop.catalogue
    model = AlternatingLeastSquares(factors=catalogue.factors.shape[1] - 1, num_threads=1)
    model.item_factors = np.ascontiguousarray(catalogue.factors[:, :-1])
    ready: dict[tuple[int, int], tuple[Any, Any]] = {}

    def recommend(windows: list[Any]) -> Any:
        key = id(windows[0]), len(windows)
        if key not in ready:
            _, whole, packed = packed_windows(shop.artifact, catalogue, windows)
            _, users = user_states(shop.artifact, sequence, catalogue, whole, packed)
            shape = len(windows), len(catalogue.factors)
            rows = packed.rows.ravel(), np.repeat(np.arange(len(windows)), packed.rows.shape[1])
            ready[key] = users, csr_matrix((np.ones(rows[0].size, np.float32), rows[::-1]), shape=shape)
            raise NotReadyError
        users, had = ready[key]
        model.user_factors = np.ascontiguousarray(users[:, :-1])
        return model.recommend(np.arange(len(windows)), had, N=K, filter_already_liked_items=True)

    return recommend


class NotReadyError(Exception):
    """The first call only prepared; call again."""


def limit(shop: Shop) -> Callable[[list[Any]], Any]:
    """Compute the bare products and selections that the models need, on arrays that lie ready.

    For each layer of the sequence model the linear maps over all behaviours, of the last layer
    those of the newest behaviour where that is enough; the normal matrices of fold-in; both
    searches, with the selection of the best; and for each user the products of the candidates with
    the window, the user, two texts and the hidden layer. No gathering, no solving, no features, no
    sorting.
    """
    from models.index.best_rows import best_positions, longest
    from models.ranking.candidates import N_MF, gather

    config, catalogue = shop.artifact.sequence.config, shop.catalogue
    rng, none = np.random.default_rng(1), np.zeros(0, np.float32)
    bounds = longest(catalogue.vectors), longest(catalogue.factors)
    n_candidates: dict[int, int] = {}
    kept: dict[tuple[int, int], Any] = {}

    def some(*shape: int) -> Any:
        return rng.standard_normal(shape, dtype=np.float32)

    def products(n: int, length: int, c: int) -> list[tuple[Any, Any, Any]]:
        d, f, t = config.dim, catalogue.factors.shape[1], catalogue.text_unit.shape[1]
        steps = [min(STEP, n * length - start) for start in range(0, n * length, STEP)]
        maps = (d, 2 * d), (2 * d, d), (d, 4 * d), (4 * d, d)
        pairs = [(m, a, b) for _ in range(config.n_layers - 1) for m in steps for a, b in maps]
        pairs += [(m, *maps[0]) for m in steps] + [(n, *one) for one in maps[1:]]
        made = [(some(m, a), some(a, b), np.empty((m, b), np.float32)) for m, a, b in pairs]
        of_users = (f - 1, length, f - 1), (c, d + 1, length + 1), (c, t, 2), (c, f, 1), (33, 24, c)
        return made + [(some(n, m, a), some(n, a, b), np.empty((n, m, b), np.float32)) for m, a, b in of_users]

    def bare(windows: list[Any]) -> Any:
        n, length = len(windows), len(windows[0])
        if length not in n_candidates:
            counts = gather(shop.artifact, catalogue, windows, None, 100).counts
            n_candidates[length] = int(counts.mean())
        if (n, length) not in kept:
            users = some(n, config.dim + 1), some(n, catalogue.factors.shape[1])
            kept[n, length] = products(n, length, n_candidates[length]), users
            raise NotReadyError
        pairs, users = kept[n, length]
        for a, b, out in pairs:
            np.matmul(a, b, out=out)
        if catalogue.index.kind != "exact":
            return catalogue.index.best(users[0], np.full(n, 100 + length)), catalogue.factor_index.best(
                users[1], np.full(n, N_MF)
            )
        retrieved = best_positions(users[0], catalogue.vectors, np.full(n, 100 + length), none, bounds[0])
        return retrieved, best_positions(users[1], catalogue.factors, np.full(n, N_MF), none, bounds[1])

    return bare


PROGRAMS = {
    "pipeline": pipeline,
    "rules": under_rules,
    "loop": loop,
    "implicit": peer,
    "limit": limit,
    "beside": pipeline,
}


def answer(run: Callable[[list[Any]], Any], shop: Shop, request: dict[str, Any]) -> dict[str, Any]:
    """Return what a request asks for: times, or the lists themselves."""
    windows = shop.windows[request["length"]][request["first"] : request["first"] + request["n"]]
    batches = [windows[i : i + request["batch"]] for i in range(0, len(windows), request["batch"])]
    if request["what"] == "lists":
        lists = [one for batch in batches for one in run(batch)]
        return {"lists": [[[item.item_id, float(item.score)] for item in one.items] for one in lists]}
    for batch in batches:  # what is prepared once for a batch is prepared
        try:
            run(batch)
        except NotReadyError:
            run(batch)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for batch in batches:
        run(batch)
    return {"cpu_s": time.process_time() - began_cpu_s, "wall_s": time.perf_counter() - began_s, "n": len(windows)}


def main() -> None:
    """Answer requests until the input ends."""
    import torch

    torch.set_num_threads(1)
    program, folder = sys.argv[1], Path(sys.argv[2])
    shop = Shop(folder)
    if program != "rules":
        shop.items = {}  # of a million items several programs would not fit into memory otherwise
    with torch.inference_mode():
        run = PROGRAMS[program](shop)
        print(json.dumps({"ready": program}), flush=True)  # noqa: T201 (the parent reads it)
        for line in sys.stdin:
            print(json.dumps(answer(run, shop, json.loads(line))), flush=True)  # noqa: T201 (the parent reads it)


if __name__ == "__main__":
    main()
