"""``headrace bench catalogue``: lists a second and the age of changes, while the catalogue changes.

The recommender's reader of ``items`` and its pipeline run in this process, on a made shop, without
a broker: records come from a queue in its place. The model's thread makes lists without a pause, in
micro-batches of 64 windows of 50. A change is a new text, an item hidden or shown, a new item, or a
removed one. Its age is the time from its record until the first micro-batch that begins with a
catalogue in which it is in force; each list is checked for items that were hidden before it began.
The rates take turns, so that the machine's noise falls on all of them.

With ``--through-broker`` it asks the same of both apps and a broker
(:mod:`tools.bench.live.changing_catalogue`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.base.types import Float32
from models.text.clean import clean_item, raw_item_text, text_version
from models.text.cleaned_texts import CleanedTexts
from models.text.embedding_cache import EmbeddingCache, embed_texts
from models.text.encoder import FakeEncoder
from streams.errors import InputError
from streams.recommender.served import Model
from streams.settings.load import RecommenderSettings
from tools.bench.live import changing_catalogue
from tools.bench.live.changing_catalogue import LiveOptions
from tools.bench.live.changing_shop import Shop, item_name, windows_of
from tools.bench.live.worker_alone import LOAD_BATCH, Bench, Phase
from tools.bench.live.worker_metrics import memory_mb
from tools.bench.made.shop import made_shop
from tools.bench.subject import Subject
from tools.cli import progress

SIZES: Final = (10_000, 100_000)
RATES: Final = (0.0, 1.0, 100.0, 1_000.0)
N_WINDOWS: Final = 4_096
WINDOW: Final = 50
MAX_ITEMS, MAX_RATE_PER_S, MAX_WORKERS = 4_000_000, 10_000.0, 8


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    rates : changes a second
    seconds : of each rate in each round
    rounds : through a broker there is one
    live : what is measured through a broker; None for the reader and the pipeline in this process
    """

    preset: str
    sizes: tuple[int, ...]
    rates: tuple[float, ...]
    seconds: float
    rounds: int
    seed: int
    live: LiveOptions | None = None


def options_of(args: argparse.Namespace) -> Options:
    """Return the checked options.

    Raises
    ------
    InputError
        When one is out of its range.
    """
    sizes, rates = tuple(args.items or SIZES), tuple(args.rates or RATES)
    for name, values, least, most in (
        ("--items", sizes, 100, MAX_ITEMS),
        ("--rates", rates, 0, MAX_RATE_PER_S),
        ("--seconds", (args.seconds,), 1, 600),
        ("--rounds", (args.rounds,), 1, 20),
        ("--events", (args.events,), 1, 20_000),
        ("--users", (args.users,), 1, 1_000_000),
        ("--workers", (args.workers,), 1, MAX_WORKERS),
    ):
        for value in values:
            if not least <= value <= most:
                raise InputError(f"{name} {value:g}: must be from {least:g} to {most:g}")
    rates, live = tuple(dict.fromkeys((0.0, *rates))), None
    if args.through_broker:
        live = LiveOptions(
            args.broker, args.preset, sizes, rates, args.seconds, args.events, args.users, args.seed, args.workers
        )
    return Options(args.preset, sizes, rates, args.seconds, args.rounds, args.seed, live)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--preset", choices=("demo", "best"), default="demo", help="sizes of the model")
    parser.add_argument("--items", type=int, nargs="+", metavar="N", help=f"sizes (default: {SIZES})")
    parser.add_argument("--rates", type=float, nargs="+", metavar="R", help=f"changes a second (default: {RATES})")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="in which the rates take turns (default: %(default)s)")
    parser.add_argument("--through-broker", action="store_true", help="through both apps and a broker, one round")
    parser.add_argument("--events", type=float, default=100.0, help="a second, through a broker (default: %(default)g)")
    parser.add_argument("--users", type=int, default=500, help="through a broker (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="recommenders, through a broker (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)


def run(options: Options) -> dict[str, Any]:
    """Measure every size."""
    if options.live is not None:
        found = list(changing_catalogue.run(options.live))
    else:
        found = [asyncio.run(_size(options, n_items)) for n_items in options.sizes]
    return {
        "subject": "catalogue",
        "through_broker": options.live is not None,
        "preset": options.preset,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "sizes": found,
    }


async def _size(options: Options, n_items: int) -> dict[str, Any]:
    shop = made_shop(options.preset, n_items, options.seed)  # type: ignore[arg-type]
    artifact = shop.artifact
    encoder = FakeEncoder(artifact.whitening.matrix.shape[0])
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(Path(folder), encoder.version, encoder.dim)
        _warm(cache, CleanedTexts(Path(folder), text_version()), encoder, n_items)
        # the load's own, which a worker does not hold
        windows, made = windows_of(shop.groups, N_WINDOWS, WINDOW, options.seed), Shop(n_items, options.seed)
        before_mb = memory_mb()["resident"]
        _forget_peak()
        opened_s = time.monotonic()
        cache = EmbeddingCache(Path(folder), encoder.version, encoder.dim)
        cleaned = CleanedTexts(Path(folder), text_version())
        opened_s = time.monotonic() - opened_s

        def embed(texts: list[str]) -> Float32:
            return embed_texts(texts, encoder, cache)

        bench = Bench(replace(Model.of(artifact, RecommenderSettings(), embed), cleaned=cleaned), windows, made)
        try:
            load_s = await bench.load()
            index_s = await bench.settle()
            recall = await bench.recall()
            held = memory_mb()
            await bench.phase(0.0, 2.0)  # caches fill
            phases = await _rounds(bench, options)
            after = await bench.recall()
        finally:
            await bench.close()
    return {
        "items": n_items,
        "cache_open_s": round(opened_s, 2),
        "load_s": round(load_s, 2),
        "index_s": round(index_s, 2),
        "start_s": round(opened_s + load_s, 2),
        "memory_mb": round(held["resident"] - before_mb),
        "peak_mb": round(held["peak"] - before_mb),
        "recall": round(recall, 4),
        "recall_after": round(after, 4),
        "rebuilds": int(bench.reader.n_rebuilds),
        "rates": [_summary(rate, phases) for rate in options.rates],
    }


async def _rounds(bench: Bench, options: Options) -> list[dict[float, Phase]]:
    rounds = []
    with progress() as bar:
        task = bar.add_task("measuring", total=options.rounds, unit="rounds")
        for _ in range(options.rounds):
            rounds.append({rate: await bench.phase(rate, options.seconds) for rate in options.rates})
            bar.advance(task)
    return rounds


def _warm(cache: EmbeddingCache, cleaned: CleanedTexts, encoder: FakeEncoder, n_items: int) -> None:
    """Fill both caches as the worker before would have."""
    for start in range(0, n_items, LOAD_BATCH):
        names = (item_name(row) for row in range(start, min(start + LOAD_BATCH, n_items)))
        texts = {raw: clean_item(raw) for raw in (raw_item_text(f"Item {name}") for name in names)}
        cleaned.put_many(texts)
        embed_texts([*texts.values()], encoder, cache)


def _forget_peak() -> None:
    """Let the peak of resident memory begin anew, where the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _summary(rate: float, rounds: list[dict[float, Phase]]) -> dict[str, Any]:
    """Return medians over the rounds, and the ratio to the same round without changes."""
    phases = [of_round[rate] for of_round in rounds]
    pace = [phase.n_lists / phase.seconds for phase in phases]
    ratios = [
        (of_round[rate].n_lists / of_round[rate].seconds) / (of_round[0.0].n_lists / of_round[0.0].seconds)
        for of_round in rounds
    ]
    ages = np.array([age for phase in phases for age in phase.ages_s] or [0.0])
    return {
        "rate": rate,
        "lists_per_s": round(statistics.median(pace), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_ms_per_list": round(statistics.median(1000 * phase.cpu_s / phase.n_lists for phase in phases), 3),
        "changes": sum(phase.n_changes for phase in phases),
        "in_force": sum(len(phase.ages_s) for phase in phases),
        "age_p50_ms": round(1000 * float(np.percentile(ages, 50)), 1),
        "age_p99_ms": round(1000 * float(np.percentile(ages, 99)), 1),
        "catalogues": sum(phase.n_catalogues for phase in phases),
        "wrong_items": sum(phase.n_wrong for phase in phases),
    }


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people."""
    if result["through_broker"]:
        return changing_catalogue.as_table(result)
    lines: list[str] = []
    for size in result["sizes"]:
        lines.append(
            f"{size['items']:,} items: opened in {size['cache_open_s']} s, loaded in {size['load_s']} s, indexed in {size['index_s']} s, "
            f"{size['memory_mb']} MB beside the model, {size['peak_mb']} MB at the peak, "
            f"recall {size['recall']}, after all changes {size['recall_after']}"
        )
        lines += [
            f"  {found['rate']:>7g} changes/s: {found['lists_per_s']:>8} lists/s, ratio {found['ratio']:.3f}, "
            f"in force after {found['age_p50_ms']} ms (p50), {found['age_p99_ms']} ms (p99), "
            f"{found['wrong_items']} listed items that were hidden"
            for found in size["rates"]
        ]
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
