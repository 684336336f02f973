"""``headrace bench index``: recall, time, memory and build of each kind of index.

The vectors are those of an artifact and a catalogue, and made ones like them, by
:mod:`tools.bench.live.index_vectors`. The queries are the vectors of users of a log. Times are
processor times of one thread, which other programs do not change much. The rounds of the kinds are
interleaved.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streams.errors import InputError
from tools.bench.subject import Subject
from tools.cli import progress
from tools.training.inputs import TrainingSources

if TYPE_CHECKING:
    from models.base.types import Float32, Int64
    from tools.bench.live.index_kinds import Measured

ANSWERS: Final = 100
BATCHES: Final = (1, 64)
KIND_NAMES: Final = "exact,headrace,ivf-float32,ivf-float16,ivf-int8,hnsw-float32,hnsw-float16"
MAX_ITEMS: Final = 5_000_000


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    artifact : folder of the artifact whose vectors are used
    sizes : numbers of items
    kinds : names of :data:`tools.bench.live.index_kinds.KINDS`; ``exact`` is among them
    n_queries : users of the log
    rounds : of all queries, for each kind
    """

    sources: TrainingSources
    artifact: Path
    sizes: Sequence[int]
    kinds: Sequence[str]
    n_queries: int
    rounds: int
    recall: float
    seed: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    TrainingSources.add_options(parser)
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR", help="artifact whose vectors are used")
    parser.add_argument(
        "--sizes", default="12000,100000,1000000", metavar="N,...", help="numbers of items (default: %(default)s)"
    )
    parser.add_argument("--kinds", default=KIND_NAMES, metavar="NAME,...", help="indexes (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=256, help="users who ask (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all queries (default: %(default)s)")
    parser.add_argument(
        "--recall", type=float, default=0.98, help="least recall of the best 100 (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers (default: %(default)s)")


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    try:
        sizes = [int(word) for word in args.sizes.split(",")]
    except ValueError:
        raise InputError(f"--sizes {args.sizes!r}: must be whole numbers with commas between") from None
    if not all(ANSWERS <= size <= MAX_ITEMS for size in sizes):
        raise InputError(f"--sizes {args.sizes}: each must be from {ANSWERS} to {MAX_ITEMS}")
    kinds = args.kinds.split(",")
    if unknown := [name for name in kinds if name not in KIND_NAMES.split(",")]:
        raise InputError(f"--kinds: no index {unknown[0]!r}; there are {KIND_NAMES}")
    for name, value, most in (("queries", args.queries, 100_000), ("rounds", args.rounds, 1_000)):
        if not 2 <= value <= most:
            raise InputError(f"--{name} {value}: must be from 2 to {most}")
    if not 0.0 < args.recall <= 1.0:
        raise InputError(f"--recall {args.recall}: must be above 0 and at most 1")
    if not 0 <= args.seed < 2**31:
        raise InputError(f"--seed {args.seed}: must be from 0 to 2147483647")
    kinds = ["exact", *(name for name in dict.fromkeys(kinds) if name != "exact")]
    return Options(
        TrainingSources.of(args), args.artifact, sizes, kinds, args.queries, args.rounds, args.recall, args.seed
    )


def run(options: Options) -> dict[str, Any]:
    """Measure every kind at every size."""
    from tools.bench.live.index_vectors import extended, likeness, real_vectors

    options.sources.check()
    items, users = real_vectors(options.artifact, options.sources, options.n_queries, options.seed)
    rows: list[dict[str, Any]] = []
    like: dict[str, Any] = {}
    with progress() as bar:
        task = bar.add_task("indexes", total=len(options.sizes) * len(options.kinds))
        for n in options.sizes:
            vectors = extended(items, n, options.seed)
            if n >= 2 * len(items):
                like = likeness(items, vectors, options.seed)
            rows += [row | {"n": n} for row in _measure(vectors, users, options)]
            bar.advance(task, len(options.kinds))
    return {
        "log": options.sources.log.paths[0].name,
        "real_items": len(items),
        "queries": len(users),
        "width": items.shape[1],
        "likeness": like,
        "rows": rows,
        "rounds": options.rounds,
        "seed": options.seed,
        "machine": f"1 thread of {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _measure(vectors: Float32, users: Float32, options: Options) -> Iterator[dict[str, Any]]:
    from tools.bench.live.index_kinds import build_kind, share_found

    built = {name: build_kind(name, vectors, target=options.recall, seed=options.seed) for name in options.kinds}
    wanted = built["exact"].search(users, ANSWERS)[0]
    times: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES} for name in built}
    for _ in range(options.rounds):
        for name, index in built.items():
            for batch in BATCHES:
                times[name][batch].append(_ms_per_query(index, users, batch))
    for name, index in built.items():
        found: Int64 = index.search(users, ANSWERS)[0]
        yield {
            "kind": name,
            "effort": index.effort,
            "measured": index.recall,
            "found": share_found(found, wanted),
            "build_s": index.build_s,
            "bytes": index.n_bytes,
            "note": index.note,
        } | {f"batch {batch}": _spread(times[name][batch], times["exact"][batch]) for batch in BATCHES}


def _ms_per_query(index: Measured, users: Float32, batch: int) -> float:
    start = time.process_time()
    for first in range(0, len(users), batch):
        index.search(users[first : first + batch], ANSWERS)
    return (time.process_time() - start) / len(users) * 1e3


def _spread(ms: Sequence[float], exact_ms: Sequence[float]) -> dict[str, float]:
    """Return the median and the bounds, and the median ratio of pairs, exact's time / its time."""
    ratios = [theirs / ours for theirs, ours in zip(exact_ms, ms, strict=True)]
    return {"ms": statistics.median(ms), "min": min(ms), "max": max(ms), "ratio": statistics.median(ratios)}


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [
        f"{'items':>9} {'index':<13} {'effort':>6} {'measured':>8} {'found':>6} {'build s':>8} {'MB':>6} "
        f"{'ms at 1 (min to max)':>24} {'ms at 64 (min to max)':>24} {'x exact':>11}"
    ]
    for row in result["rows"]:
        one, many = (row[f"batch {batch}"] for batch in BATCHES)
        shown = [f"{of['ms']:.3f} ({of['min']:.3f} to {of['max']:.3f})" for of in (one, many)]
        lines.append(
            f"{row['n']:>9} {row['kind']:<13} {row['effort']:>6} {row['measured']:>8.3f} {row['found']:>6.3f} "
            f"{row['build_s']:>8.1f} {row['bytes'] / 1e6:>6.0f} {shown[0]:>24} {shown[1]:>24} "
            f"{one['ratio']:>5.1f} {many['ratio']:>5.1f} {row['note']}".rstrip()
        )
    for name, found in result["likeness"].items():
        lines.append(f"{name}: " + "; ".join(f"{what} {values}" for what, values in found.items()))
    lines.append(
        f"best {ANSWERS}; processor ms per query; {result['real_items']} real items of {result['log']}, "
        f"{result['queries']} users, {result['width']} wide; {result['rounds']} interleaved rounds; "
        f"{result['machine']}; {result['date']}"
    )
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
