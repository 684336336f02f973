"""``headrace bench imputation``: NDCG@10 with a share of all features removed, by imputation.

The sequence model uses no features, so the benchmark fits it once for all cells of the table. It
fits the fusion for each cell.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from streams.errors import InputError
from tools.bench.subject import Subject
from tools.cli import progress
from tools.reports.outputs import check_writable
from tools.training.checks import check_cases, check_trainable
from tools.training.fit import IMPUTATIONS, check_seed
from tools.training.inputs import Sides, TrainingSources, embed_items, encoder_access

if TYPE_CHECKING:
    from models.base.types import Float32
    from models.evaluation.splits import Cases
    from models.features.columns import Row

#: Shares of the features that are removed at random.
SHARES: Final = (0.1, 0.3, 0.6)
SPLIT: Final = 0.9
MAX_QUESTIONS: Final = 5_000


@dataclass(frozen=True)
class Options:
    """What a person asked for: a log with its catalogue and users, and how to train."""

    sources: TrainingSources
    preset: Literal["demo", "best"]
    encoder: str
    seed: int


@dataclass(frozen=True)
class Ground:
    """What all trainings share: options, cases, vectors of the items' texts, and a folder."""

    options: Options
    cases: Cases
    vectors: Mapping[str, Float32]
    checkpoints: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    TrainingSources.add_options(parser)
    parser.add_argument(
        "--preset", choices=("demo", "best"), default="demo", help="preset of the training (default: %(default)s)"
    )
    parser.add_argument(
        "--encoder", default="use-multilingual", metavar="NAME", help="text encoder (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers (default: %(default)s)")


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    check_seed(args.seed)
    return Options(TrainingSources.of(args), args.preset, args.encoder, args.seed)


def run(options: Options) -> dict[str, Any]:
    """Train once for every cell of the table."""
    from models.evaluation.splits import time_split
    from streams.recommender.model.artifact_encoder import open_cache, open_encoder

    options.sources.check()
    sides = options.sources.read_sides()
    if not any(any(v is not None for v in row.values()) for row in _all_rows(sides)):
        raise InputError("no features: name columns with --item-columns features.NAME=COLUMN, or --users")
    encoder = open_encoder(options.encoder, "cpu", encoder_access())
    check_writable("the folder for temporary files (TMPDIR)", Path(tempfile.gettempdir()))
    cases = time_split(options.sources.read_log(), SPLIT)
    check_trainable(cases.train, options.sources.log.name)
    check_cases(cases, options.sources.log.name)
    vectors = embed_items(sides.items, encoder, open_cache(None, encoder))
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        task = bar.add_task("trainings", total=2 + len(IMPUTATIONS) * len(SHARES))
        ground = Ground(options, cases, vectors, Path(folder))

        def ndcg(kept: Sides, imputation: str) -> float:
            found = _ndcg(ground, kept, imputation)
            bar.advance(task)
            return found

        nothing = ndcg(Sides(sides.items), "mean")
        whole = ndcg(sides, "median")
        table: list[dict[str, Any]] = [
            {"imputation": imputation}
            | {f"{share:.0%} removed": ndcg(_without(sides, share, options.seed), imputation) for share in SHARES}
            for imputation in IMPUTATIONS
        ]
    return {
        "log": options.sources.log.paths[0].name,
        "seed": options.seed,
        "preset": options.preset,
        "date": datetime.now(UTC).date().isoformat(),
        "nothing removed": whole,
        "without features": nothing,
        "missing": table,
    }


def remove(rows: Mapping[str, Row], share: float, seed: int) -> dict[str, Row]:
    """Return the features that are left when each is removed with probability ``share``."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible experiment, nothing secret
    return {
        key: {name: row[name] for name in sorted(row) if row[name] is not None and rng.random() >= share}
        for key, row in sorted(rows.items())
    }


def _without(sides: Sides, share: float, seed: int) -> Sides:
    return Sides(sides.items, remove(sides.item_features, share, seed), remove(sides.user_features, share, seed + 1))


def _all_rows(sides: Sides) -> list[Row]:
    return [*sides.item_features.values(), *sides.user_features.values()]


def _ndcg(ground: Ground, sides: Sides, imputation: str) -> float:
    """Train with these features, and return NDCG@10 over a sample of the events after the split."""
    import numpy as np

    from models.interactions import sample_positions
    from models.ranking.catalogue import build_catalogue
    from models.text.clean import text_version
    from models.training.fusion_cases import measure, questions
    from models.training.train import TextSource, TrainingData, TrainingOptions, train

    options, cases = ground.options, ground.cases
    source = TextSource(options.encoder, "bench", text_version())
    data = TrainingData(cases.train, ground.vectors, source, sides.item_features, sides.user_features)
    how = TrainingOptions(options.preset, options.seed, imputation=imputation, checkpoints=ground.checkpoints)
    try:
        artifact = train(data, how)
    except ValueError as exc:
        raise InputError(f"{options.sources.log.name}: {exc}") from exc
    nothing = np.zeros(artifact.whitening.mean.shape[0], dtype=np.float32)
    items = {item_id: ground.vectors.get(item_id, nothing) for item_id in cases.log.item_ids}
    catalogue = build_catalogue(artifact, items, generation=1, features=sides.item_features)
    positions = sample_positions(cases.log, cases.positions.tolist(), MAX_QUESTIONS, options.seed)
    max_length = artifact.sequence.config.max_length
    return measure(artifact, questions(catalogue, cases.log, positions, max_length, sides.user_features))["ndcg@10"]


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    heads = [f"{share:.0%} removed" for share in SHARES]
    lines = [f"{'NDCG@10':<16}" + "".join(f" {head:>12}" for head in heads)]
    for row in result["missing"]:
        lines.append(f"{row['imputation']:<16}" + "".join(f" {row[head]:>12.4f}" for head in heads))
    lines.append(
        f"nothing removed: {result['nothing removed']:.4f}; without any feature: {result['without features']:.4f}"
    )
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
