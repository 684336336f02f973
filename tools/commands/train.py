"""``headrace train``: an artifact from a historical log and its catalogue."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from streams.errors import InputError
from streams.settings.load import load_settings
from tools.cli import UsageError, emit, progress
from tools.files.log_reader import LogReader, LogSpec, parse_columns, read_items, sorted_rows
from tools.files.user_reader import read_users
from tools.replay.identity import parse_time
from tools.replay.publish_log import Tally
from tools.training.catalogue_share import catalogue_share

if TYPE_CHECKING:
    from models.artifact.artifact import Artifact
    from models.interactions import Interactions
    from models.text.encoder_files import Access
    from models.types import Float32

SUMMARY = "train an artifact from a log"
IMPUTATIONS = ("mean", "median", "most_frequent", "time", "model")


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names a log, its catalogue and its users."""
    parser.add_argument("log", type=Path, metavar="LOG", help="CSV, TSV, JSON lines or Parquet; gzip or zstd too")
    parser.add_argument("--items", type=Path, metavar="FILE", help="the catalogue: titles, texts, categories, features")
    parser.add_argument("--users", type=Path, metavar="FILE", help="features of users")
    parser.add_argument("--columns", default="", metavar="A=B,...", help="contract names to the log's columns")
    parser.add_argument(
        "--item-columns", default="", metavar="A=B,...", help="contract names to the catalogue's; features.NAME=COLUMN"
    )
    parser.add_argument("--user-columns", default="", metavar="A=B,...", help="likewise of the users' file")
    parser.add_argument("--types", default="", metavar="A=B,...", help="the log's types to the contract's: pv=view")
    parser.add_argument("--time-unit", choices=("auto", "s", "ms", "iso"), default="auto", help="of the log's times")


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how to train."""
    parser.add_argument("--minutes", type=float, help="let the sequence model take so many minutes at most")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the models run")
    parser.add_argument(
        "--encoder",
        default="use-multilingual",
        metavar="NAME",
        help="one that comes along, a folder or a Hugging Face name (see HEADRACE_ENCODER_DOWNLOAD)",
    )
    parser.add_argument(
        "--imputation", choices=IMPUTATIONS, default="median", help="what fills missing features (default: %(default)s)"
    )
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write curves and item vectors for TensorBoard")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted training into the same --out")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_log_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the artifact goes")
    parser.add_argument("--until", metavar="T", help="train on what is before this time: ISO 8601 or ms")
    parser.add_argument(
        "--leave-out", choices=("none", "last"), default="none", help="last: keep each user's last event for evaluate"
    )
    parser.add_argument(
        "--preset", choices=("demo", "best"), default="demo", help="small and quick, or as good as it gets"
    )
    add_training_arguments(parser)


def check_training(args: argparse.Namespace, out: Path | None) -> None:
    """Refuse options that cannot be trained with, and a directory that is something else; choose how texts are cut."""
    from models.artifact.artifact import MANIFEST
    from streams.recommender.artifact_encoder import prepare_text

    if out is not None and out.exists() and not (out / MANIFEST).exists():
        raise UsageError(f"{out}: exists and is no artifact; name a new directory")
    check_seed(args.seed)
    if args.minutes is not None and not args.minutes > 0:
        raise UsageError(f"--minutes {args.minutes}: must be above 0")
    prepare_text(load_settings().recommender)


def check_seed(seed: int) -> None:
    """Refuse a seed that the random generators do not take."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: must be from 0 to {2**32 - 1}")


def read_log(args: argparse.Namespace, until_ms: int | None = None) -> Interactions:
    """Return the log's events before ``until_ms`` in time order; bad rows are shown with their line, up to a ceiling."""
    from models.interactions import Interactions

    spec = LogSpec(args.log, parse_columns(args.columns), parse_columns(args.types), args.time_unit)
    rows = sorted_rows(LogReader(spec, Tally().refuse))
    log = Interactions.from_rows(
        (row.user_id, row.item_id, row.type, row.ts_ms) for row in rows if until_ms is None or row.ts_ms < until_ms
    )
    if not len(log):
        raise InputError(
            f"{args.log}: no rows{' before --until ' + str(args.until) if until_ms else ''}: nothing to work on"
        )
    return log


@dataclass(frozen=True)
class Sides:
    """What is known of items and users beside the log: contract fields by id, and their features by name."""

    items: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    item_features: Mapping[str, dict[str, float | str | None]] = field(default_factory=dict)
    user_features: Mapping[str, dict[str, float | str | None]] = field(default_factory=dict)


def read_sides(args: argparse.Namespace) -> Sides:
    """Return the catalogue and the users; empty without ``--items`` and ``--users``."""
    from models.features.columns import item_row, user_row

    items = read_items(args.items, parse_columns(args.item_columns)) if args.items else {}
    users = read_users(args.users, parse_columns(args.user_columns)) if args.users else {}
    return Sides(
        items,
        {item_id: item_row(item) for item_id, item in items.items()},
        {user_id: user_row(user) for user_id, user in users.items()},
    )


def share_of_items(args: argparse.Namespace, log: Interactions, sides: Sides) -> float | None:
    """Return the share of the log's items that the catalogue has, None without ``--items``; refuse or warn where it is low."""
    if args.items is None:
        return None
    return catalogue_share(args.log.name, dict.fromkeys(log.item_ids), args.items.name, sides.items)


def encoder_access() -> Access:
    """Return what may be read for an encoder that a person names: anything, and the hub where the setting allows it."""
    from models.text.encoder_files import Access

    return Access(download=load_settings().recommender.encoder_download == "on")


def embed_items(items: Mapping[str, dict[str, Any]], encoder: Any, cache: Any) -> dict[str, Float32]:
    """Return the raw text embedding of each item of a catalogue, by item id."""
    from models.text.clean import item_text
    from streams.recommender.embedding_cache import embed_texts

    texts = [item_text(i["title"], i.get("text"), i.get("category"), i.get("tags")) for i in items.values()]
    with progress() as bar:
        task = bar.add_task("item texts", total=None)
        vectors = embed_texts(texts, encoder, cache, lambda done, total: bar.update(task, completed=done, total=total))
    return dict(zip(items, vectors, strict=True))


def train_artifact(
    args: argparse.Namespace, log: Interactions, sides: Sides, preset: Any, out: Path, left_out: Literal["none", "last"]
) -> Artifact:
    """Train with progress bars, checkpoints beside ``out`` and TensorBoard, and save."""
    from models.artifact.artifact import save_artifact
    from models.text.clean import text_version
    from models.training.train import Observer, TextSource, TrainingData, TrainingOptions, train
    from streams.recommender.artifact_encoder import open_encoder
    from streams.recommender.embedding_cache import EmbeddingCache
    from streams.recommender.model_thread import resolve_device
    from tools.reports.tensorboard_log import TensorBoardLog

    device = resolve_device(args.device)
    encoder = open_encoder(args.encoder, device, encoder_access())
    vectors = embed_items(sides.items, encoder, EmbeddingCache(None, encoder.version, encoder.dim))
    checkpoints = out.parent / f".{out.name}.checkpoints"
    if not args.resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
    options = TrainingOptions(
        preset=preset,
        seed=args.seed,
        device=device,
        minutes=args.minutes,
        cut="last" if left_out == "last" else "time",
        imputation=args.imputation,
        checkpoints=checkpoints,
        left_out=left_out,
    )
    source = TextSource(args.encoder, encoder.version, text_version(), encoder.files_sha256)
    data = TrainingData(log, vectors, source, sides.item_features, sides.user_features)
    board = TensorBoardLog(args.tensorboard) if args.tensorboard else None
    with progress() as bar:
        tasks: dict[str, Any] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        try:
            artifact = train(data, options, Observer(on_progress, board.on_scalar if board else _ignore))
        except ValueError as exc:
            raise InputError(f"{args.log}: {exc}") from exc
    save_artifact(artifact, out)
    shutil.rmtree(checkpoints, ignore_errors=True)
    if board:
        board.add_items(artifact, {item_id: item["title"] for item_id, item in sides.items.items()})
        board.close()
    return artifact


def _ignore(_name: str, _value: float, _step: int) -> None:
    """Nobody asked for curves."""


def run(args: argparse.Namespace) -> int:
    """Train and save."""
    from models.evaluation.splits import leave_one_out

    check_training(args, args.out)
    started = time.monotonic()
    log = read_log(args, parse_time("--until", args.until))
    if args.leave_out == "last":
        log = leave_one_out(log).train
    sides = read_sides(args)
    share = share_of_items(args, log, sides)
    artifact = train_artifact(args, log, sides, args.preset, args.out, args.leave_out)
    manifest = artifact.manifest
    result = {
        "artifact": artifact.version,
        "out": str(args.out),
        "events": manifest.n_events,
        "users": manifest.n_users,
        "items": len(manifest.item_ids),
        "catalogue_share": share,
        "epochs": manifest.epochs,
        "seconds": time.monotonic() - started,
        "metrics": manifest.metrics,
    }
    emit(args, result, (f"{name}: {value}" for name, value in result.items()))
    return 0
