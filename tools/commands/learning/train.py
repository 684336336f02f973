"""``headrace train``: trains an artifact from a historical log and its catalogue."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

from models.training.log_findings import find_no_hits
from streams.announcements.sending.models import current
from streams.errors import InputError
from streams.settings.load import load_settings
from tools.announcing.models import TIMEOUT_S, check_name, publish_artifact
from tools.cli import emit
from tools.files.cells.times import parse_time
from tools.training.catalogue_share import share_of_items
from tools.training.checks import check_artifact_folder, check_trainable, findings_of, tell_findings
from tools.training.fit import FitOptions, check_target, choose_text, encoder_for, train_artifact
from tools.training.inputs import TrainingInputs, TrainingSources
from tools.training.live_artifact import add_consent, check_live
from tools.training.result_tables import of_training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    TrainingSources.add_options(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the artifact; needed but for --dry-run")
    parser.add_argument("--until", metavar="T", help="train on events before this time: ISO 8601 or ms")
    parser.add_argument(
        "--leave-out",
        choices=("none", "last"),
        default="none",
        help="last: leave out each user's last event, for evaluate to ask about",
    )
    parser.add_argument(
        "--preset",
        choices=("demo", "best"),
        default="demo",
        help="demo is small and quick, best takes long (default: %(default)s)",
    )
    FitOptions.add_options(parser)
    parser.add_argument(
        "--publish", action="store_true", help="announce the artifact as headrace models publish does, and wait"
    )
    parser.add_argument("--name", default="live", help="with --publish: the deployment name (default: %(default)s)")
    add_consent(parser)


def run(args: argparse.Namespace) -> int:
    """Train an artifact and save it; return the exit code: 1 where a row was refused.

    The artifact is written all the same, from the other rows.
    """
    if args.dry_run:
        return TrainingSources.of(args).preview(args, "would be trained on")
    fit, sources = _checked(args)
    started = time.monotonic()
    inputs, warnings, share = _read(args, fit, sources)
    artifact = train_artifact(fit, inputs, args.preset, args.out, args.leave_out)
    manifest = artifact.manifest
    warnings += tell_findings(find_no_hits(manifest.metrics.get("hr@10"), manifest.metrics.get("n", 0)))
    result = {
        "artifact": artifact.version,
        "out": str(args.out),
        "events": manifest.n_events,
        "has_times": not sources.log.no_times,
        "users": manifest.n_users,
        "items": len(manifest.item_ids),
        "catalogue_share": share,
        "epochs": manifest.epochs,
        "repeats": str(manifest.policy),
        "seconds": time.monotonic() - started,
        "metrics": manifest.metrics,
        "warnings": warnings,
        **sources.refused.result(),
    }
    swap = None
    if args.publish:
        kafka = load_settings(broker=args.broker).kafka
        swap = asyncio.run(publish_artifact(kafka, args.out, args.name, refresh_days=None, timeout_s=TIMEOUT_S))
        result["published"] = swap.as_dict()
    emit(args, result, [*of_training(result), *(() if swap is None else swap.as_lines())])
    if swap is not None and swap.answers is not None:
        swap.answers.check(swap.what)
    return sources.refused.exit_code


def _checked(args: argparse.Namespace) -> tuple[FitOptions, TrainingSources]:
    """Return how to train and what to read; raise :class:`InputError` for what cannot be used."""
    if args.out is None:
        raise InputError("--out is missing: name a folder for the artifact")
    check_target(args.out)
    check_live(args.out, args.yes)
    fit, sources = FitOptions.of(args), TrainingSources.of(args)
    check_artifact_folder("--out", args.out)
    parse_time("--until", args.until)
    sources.check()
    choose_text()
    if args.publish:
        check_name("--name", args.name)
        asyncio.run(current(load_settings(broker=args.broker).kafka, args.name))
    return fit, sources


def _read(
    args: argparse.Namespace, fit: FitOptions, sources: TrainingSources
) -> tuple[TrainingInputs, list[dict[str, Any]], float | None]:
    """Return the inputs, the oddities of the log, and the share of its items in the catalogue."""
    from models.evaluation.splits import leave_one_out

    sides = sources.read_sides()
    encoder = encoder_for(fit, sides)
    log = sources.read_log(args.until)
    warnings = tell_findings(findings_of(log, sources.log, fit.repeats))
    if args.leave_out == "last":
        log = leave_one_out(log).train
    inputs = TrainingInputs(sources, log, sides, encoder)
    share = share_of_items(inputs)
    check_trainable(log, sources.log.name)
    check_artifact_folder("--out", args.out, len(log.item_ids))
    return inputs, warnings, share
