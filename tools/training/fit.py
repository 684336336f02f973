"""Trains an artifact as the user's options say, with progress bars and checkpoints."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from models.rules.repeats import NO_REPEATS, Repeats, read_repeats
from streams.errors import InputError
from streams.settings.load import load_settings
from tools.cli import progress, say
from tools.reports.outputs import check_writable
from tools.training.inputs import Sides, TrainingInputs, embed_items, encoder_access
from tools.training.progress import StageBars, training_ends

if TYPE_CHECKING:
    from models.artifact.artifact import Artifact
    from models.text.encoder import TextEncoder
    from models.training.train import TrainingData


IMPUTATIONS: Final = ("mean", "median", "most_frequent", "time", "model")

#: What a training without texts says.
IDS_ALONE: Final = (
    "no texts of items: the model knows items by their ids alone, and serves without a text encoder; "
    "an item that the log lacks is listed once it is popular; name a catalogue with --items to change that"
)

Preset = Literal["demo", "best"]
LeftOut = Literal["none", "last"]


@dataclass(frozen=True)
class FitOptions:
    """How to train, as the user gave it.

    Parameters
    ----------
    minutes : the most that the sequence model may take; None sets no limit
    device : ``auto``, ``cpu`` or ``cuda``
    encoder : the encoder of the items' texts, by name or folder
    imputation : one of :data:`IMPUTATIONS`
    tensorboard : folder for curves and item vectors; None writes none
    is_resumed : continue an interrupted training
    repeats : which items that the user has had lists may hold; None where the user says nothing
    """

    seed: int
    minutes: float | None
    device: str
    encoder: str
    imputation: str
    tensorboard: Path | None
    is_resumed: bool
    repeats: Repeats | None = None

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options of a training."""
        parser.add_argument("--minutes", type=float, help="the most minutes that the sequence model may take")
        parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers (default: %(default)s)")
        parser.add_argument(
            "--device",
            choices=("auto", "cpu", "cuda"),
            default="auto",
            help="where the models run (default: %(default)s)",
        )
        parser.add_argument(
            "--encoder",
            default="use-multilingual",
            metavar="NAME",
            help="the text encoder: a bundled one, a folder or a Hugging Face name",
        )
        parser.add_argument(
            "--imputation",
            choices=IMPUTATIONS,
            default="median",
            help="what fills missing features (default: %(default)s)",
        )
        parser.add_argument(
            "--tensorboard", type=Path, metavar="DIR", help="write curves and item vectors for TensorBoard"
        )
        parser.add_argument(
            "--repeats",
            metavar="POLICY",
            help="whether lists may hold items that the user had: never (the default of a training), always, or after a "
            'time such as "after 7d"; "never, view=always" gives a type its own; evaluate takes the artifact\'s',
        )
        parser.add_argument("--resume", action="store_true", help="continue an interrupted training of the same --out")

    @classmethod
    def of(cls, args: argparse.Namespace) -> FitOptions:
        """Return what parsed options say; raise :class:`InputError` for an unusable value."""
        check_seed(args.seed)
        if args.minutes is not None and not args.minutes > 0:
            raise InputError(f"--minutes {args.minutes}: must be above 0")
        if args.tensorboard is not None:
            check_writable("--tensorboard", args.tensorboard)
        if args.tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
            raise InputError(
                f"--tensorboard {args.tensorboard}: the package tensorboard is not installed; "
                "pip install 'headrace[tensorboard]', or leave the option out"
            )
        return cls(
            args.seed,
            args.minutes,
            args.device,
            args.encoder,
            args.imputation,
            args.tensorboard,
            is_resumed=args.resume,
            repeats=_policy(args.repeats),
        )


def _policy(text: str | None) -> Repeats | None:
    """Return the policy that ``--repeats`` names, None without the option."""
    if text is None:
        return None
    try:
        found = read_repeats(text)
    except ValueError as exc:
        raise InputError(f"--repeats: {exc}") from exc
    types = load_settings().sequencer.types().names
    for name, _ in found.by_type:
        if name not in types:
            raise InputError(f"--repeats: {name[:40]!r} must be one of the event types {', '.join(types)}")
    return found


def encoder_for(fit: FitOptions, sides: Sides) -> TextEncoder | None:
    """Return the encoder of a training, opened.

    So a missing encoder is refused before the log is read.

    None where no item has a text.

    Raises
    ------
    InputError
        When the encoder cannot be opened.
    SettingsError
        When the device is not there.
    """
    from streams.recommender.model.artifact_encoder import open_cache, open_encoder, usable_device

    device = usable_device(fit.device)
    if not sides.has_text:
        return None
    encoder = open_encoder(fit.encoder, device, encoder_access())
    open_cache(None, encoder)
    return encoder


def check_target(out: Path) -> None:
    """Raise :class:`InputError` where ``out`` exists and does not hold an artifact."""
    from models.artifact.artifact import MANIFEST

    if out.exists() and not (out / MANIFEST).exists():
        raise InputError(f"{out}: exists and is not an artifact; name a new directory")


def choose_text() -> None:
    """Set how texts are cut into words, from the settings."""
    from streams.recommender.model.artifact_encoder import prepare_text

    prepare_text(load_settings().recommender)


def check_seed(seed: int) -> None:
    """Raise :class:`InputError` for a seed that the random number generators do not accept."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed}: must be from 0 to {2**32 - 1}")


def train_artifact(fit: FitOptions, inputs: TrainingInputs, preset: Preset, out: Path, left_out: LeftOut) -> Artifact:
    """Train with progress bars, checkpoints beside ``out`` and TensorBoard, and save the artifact.

    Parameters
    ----------
    left_out : ``last`` where the log lacks each user's last event on purpose

    Raises
    ------
    InputError
        When the log is too small to train on.
    """
    from models.artifact.artifact import save_artifact
    from models.base.observer import Observer
    from models.training.train import TrainingOptions, train
    from streams.recommender.model.artifact_encoder import usable_device
    from tools.reports.tensorboard_log import TensorBoardLog

    checkpoints = out.parent / f".{out.name}.checkpoints"
    if not fit.is_resumed:
        shutil.rmtree(checkpoints, ignore_errors=True)
    is_ordered = not inputs.sources.log.no_times
    options = TrainingOptions(
        preset=preset,
        seed=fit.seed,
        device=usable_device(fit.device),
        minutes=fit.minutes,
        cut="last" if left_out == "last" or not is_ordered else "time",
        imputation=fit.imputation,
        checkpoints=checkpoints,
        left_out=left_out,
        is_ordered=is_ordered,
        repeats=fit.repeats or NO_REPEATS,
    )
    data = _training_data(fit, inputs, options.device)
    board = TensorBoardLog(fit.tensorboard) if fit.tensorboard else None
    with progress() as bar:
        told = StageBars(bar, known=training_ends(preset, fit.minutes))

        def on_scalar(name: str, value: float, step: int) -> None:
            told.on_scalar(name, value, step)
            if board:
                board.on_scalar(name, value, step)

        try:
            artifact = train(data, options, Observer(told.on_progress, on_scalar))
        except ValueError as exc:
            raise InputError(f"{inputs.sources.log.name}: {exc}") from exc
    save_artifact(artifact, out)
    shutil.rmtree(checkpoints, ignore_errors=True)
    if board:
        board.add_items(artifact, {item_id: item["title"] for item_id, item in inputs.sides.items.items()})
        board.close()
    return artifact


def _training_data(fit: FitOptions, inputs: TrainingInputs, device: str) -> TrainingData:
    """Return the log, the features and the embeddings of the items' texts.

    Without texts no encoder is opened.
    """
    from models.text.clean import text_version
    from models.training.train import NO_TEXT, TextSource, TrainingData
    from streams.recommender.model.artifact_encoder import open_cache, open_encoder

    sides = inputs.sides
    if not sides.has_text:
        say(IDS_ALONE, style="dim")
        return TrainingData(inputs.log, {}, NO_TEXT, sides.item_features, sides.user_features, sides.follows)
    encoder = inputs.encoder or open_encoder(fit.encoder, device, encoder_access())
    vectors = embed_items(sides.items, encoder, open_cache(None, encoder))
    source = TextSource(fit.encoder, encoder.version, text_version(), encoder.files_sha256)
    return TrainingData(inputs.log, vectors, source, sides.item_features, sides.user_features, sides.follows)
