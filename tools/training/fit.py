"""Trains an artifact as the options of a command say, with progress bars and checkpoints."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from streams.errors import InputError
from streams.settings.load import load_settings
from tools.cli import progress
from tools.training.inputs import Sides, embed_items, encoder_access

if TYPE_CHECKING:
    from models.artifact.artifact import Artifact
    from models.interactions import Interactions


IMPUTATIONS = ("mean", "median", "most_frequent", "time", "model")


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


def check_training(args: argparse.Namespace, out: Path | None) -> None:
    """Refuse options that cannot be trained with, and a directory that is something else; choose how texts are cut."""
    from models.artifact.artifact import MANIFEST
    from streams.recommender.artifact_encoder import prepare_text

    if out is not None and out.exists() and not (out / MANIFEST).exists():
        raise InputError(f"{out}: exists and is no artifact; name a new directory")
    check_seed(args.seed)
    if args.minutes is not None and not args.minutes > 0:
        raise InputError(f"--minutes {args.minutes}: must be above 0")
    if args.tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            f"--tensorboard {args.tensorboard}: the package tensorboard is not installed; "
            "pip install 'headrace[tensorboard]', or leave the option out"
        )
    prepare_text(load_settings().recommender)


def check_seed(seed: int) -> None:
    """Refuse a seed that the random generators do not take."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed}: must be from 0 to {2**32 - 1}")


def train_artifact(
    args: argparse.Namespace, log: Interactions, sides: Sides, preset: Any, out: Path, left_out: Literal["none", "last"]
) -> Artifact:
    """Train with progress bars, checkpoints beside ``out`` and TensorBoard, and save."""
    from models.artifact.artifact import save_artifact
    from models.text.clean import text_version
    from models.training.train import Observer, TextSource, TrainingData, TrainingOptions, train
    from streams.recommender.artifact_encoder import open_cache, open_encoder, usable_device
    from tools.reports.tensorboard_log import TensorBoardLog

    device = usable_device(args.device)
    encoder = open_encoder(args.encoder, device, encoder_access())
    vectors = embed_items(sides.items, encoder, open_cache(None, encoder))
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
