"""``headrace evaluate``: measures the served pipeline, its sources and baselines on a log."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.rules.repeats import NO_REPEATS
from models.training.log_findings import find_no_hits
from streams.errors import HeadraceError, InputError
from streams.settings.load import RecommenderSettings, load_settings
from tools.cli import emit, progress
from tools.reports.outputs import check_writable
from tools.training.catalogue_share import share_of_items
from tools.training.checks import (
    check_artifact_folder,
    check_cases,
    check_trainable,
    choose_baselines,
    findings_of,
    named_baselines,
    tell_findings,
)
from tools.training.fit import FitOptions, LeftOut, check_target, choose_text, encoder_for, train_artifact
from tools.training.inputs import TrainingInputs, TrainingSources, embed_items
from tools.training.live_artifact import add_consent, check_live
from tools.training.progress import StageBars
from tools.training.result_tables import of_evaluation

if TYPE_CHECKING:
    from models.artifact.artifact import Artifact
    from models.evaluation.splits import Cases
    from models.interactions import Interactions
    from models.rules.repeats import Repeats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("artifact", type=Path, metavar="DIR", help="the artifact; with --train, the folder for it")
    TrainingSources.add_options(parser)
    parser.add_argument(
        "--protocol", choices=("loo", "time", "prequential"), default="loo",
        help="loo: leave out each user's last event; time: split at a time; prequential: that, with baselines that "
        "continue to learn",
    )  # fmt: skip
    parser.add_argument(
        "--split", type=float, default=0.9, help="share of events before the split (default: %(default)s)"
    )
    parser.add_argument(
        "--targets", choices=("successive", "last"), default="successive",
        help="after a split, ask for every event of a user, or for the last one",
    )  # fmt: skip
    parser.add_argument(
        "--ties",
        choices=("file", "shuffled"),
        default="file",
        help="order of events with the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--baselines",
        metavar="A,B,...",
        help="models to compare with (default: popularity, markov1, item_knn, ease and ials, as far as they can "
        "learn from so many items)",
    )
    parser.add_argument(
        "--train",
        choices=("demo", "best"),
        metavar="PRESET",
        help="first train, on the events that the protocol lets a model learn from",
    )
    parser.add_argument(
        "--window-text",
        action="store_true",
        help="also evaluate a model that reads windows as text (runs the encoder once for each)",
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.html and report.json into this folder")
    FitOptions.add_options(parser)
    add_consent(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and report; return the exit code.

    It is 1 where a row was refused, because the report lacks that row.
    """
    from models.evaluation.baselines import OWN_ITEMS
    from models.evaluation.splits import shuffle_ties
    from tools.reports.report import write_report

    fit, sources = _checked(args)
    if args.dry_run:
        return sources.preview(args, "would be evaluated")
    seconds, started = {}, time.monotonic()
    sides = sources.read_sides()
    if args.window_text and not sides.has_text:
        raise InputError("--window-text: no item has a text; name a catalogue with titles, or leave the option out")
    encoder = encoder_for(fit, sides) if args.train else None
    inputs = TrainingInputs(sources, sources.read_log(), sides, encoder)
    warnings = tell_findings(findings_of(inputs.log, sources.log, fit.repeats if args.train else NO_REPEATS))
    share = share_of_items(inputs)
    if args.ties == "shuffled":
        inputs = replace(inputs, log=shuffle_ties(inputs.log, args.seed))
    cases = _cases(args, inputs.log)
    check_cases(cases, sources.log.name)
    n_items, is_ordered = len({*inputs.log.item_ids, *sides.items}), not sources.log.no_times
    chosen = choose_baselines(named_baselines(args.baselines), n_items, is_ordered=is_ordered)
    seconds["read"] = time.monotonic() - started
    artifact, seconds["train"] = _artifact(args, fit, inputs, cases)
    policy = artifact.repeats if fit.repeats is None else fit.repeats
    if args.baselines is None and not policy.is_never:
        chosen = [*chosen[0], *OWN_ITEMS], chosen[1]
    found, more = _evaluate(args, inputs, cases, policy, artifact, chosen)
    warnings += tell_findings(find_no_hits(found["models"]["pipeline"]["hr@10"], len(cases)))
    result = _circumstances(args, inputs.log, cases, artifact, policy)
    result |= {"catalogue_share": share, "seconds": seconds | more, "warnings": warnings} | found
    result |= sources.refused.result()
    if args.report:
        titles = {item_id: item["title"] for item_id, item in inputs.sides.items.items()}
        write_report(args.report, result, titles)
        result["report"] = str(args.report / "report.html")
    emit(args, result, of_evaluation(result))
    return sources.refused.exit_code


def _checked(args: argparse.Namespace) -> tuple[FitOptions, TrainingSources]:
    """Return how to train and what to read; raise :class:`InputError` for unusable options."""
    if args.train:
        check_target(args.artifact)
        check_live(args.artifact, args.yes)
        check_artifact_folder("DIR", args.artifact)
    if args.report:
        check_writable("--report", args.report)
    fit = FitOptions.of(args)
    named_baselines(args.baselines)
    choose_text()
    if not 0 < args.split < 1:
        raise InputError(f"--split {args.split}: must be between 0 and 1")
    if args.window_text and not args.items:
        raise InputError("--window-text: windows are written with the items' texts; name them with --items")
    sources = TrainingSources.of(args)
    sources.check()
    if sources.log.no_times and args.protocol != "loo":
        raise InputError(f"--protocol {args.protocol}: cuts by time, and the log has no times (--no-times); use loo")
    return fit, sources


def _evaluate(
    args: argparse.Namespace,
    inputs: TrainingInputs,
    cases: Cases,
    policy: Repeats,
    artifact: Artifact,
    chosen: tuple[list[str], dict[str, str]],
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the metrics, and the seconds that embedding and evaluating took.

    Parameters
    ----------
    chosen : the baselines, and by name why others were left out
    """
    import numpy as np

    from models.base.observer import Observer
    from models.evaluation.evaluate import Inputs, evaluate
    from streams.recommender.model.artifact_encoder import open_artifact_encoder
    from tools.training.window_text_model import window_text_scorer

    sides, started = inputs.sides, time.monotonic()
    vectors: dict[str, Any] = {}
    others: dict[str, Any] = {}
    if not artifact.takes_text:
        vectors = dict.fromkeys(sides.items, np.zeros(1, dtype=np.float32))
    elif sides.items:
        encoder, cache = open_artifact_encoder(artifact, artifact.device, _settings(args))
        vectors = embed_items(sides.items, encoder, cache)
        if args.window_text:
            scorer = window_text_scorer(artifact, encoder, cases.train, sides.items, vectors, seed=args.seed)
            others["window_text"] = scorer
    embedded = time.monotonic()
    baselines, left_out = chosen
    asked = Inputs(
        artifact,
        vectors,
        sides.item_features,
        sides.user_features,
        sides.follows,
        baselines,
        policy,
        others,
        left_out,
    )
    with progress() as bar:
        told = StageBars(bar, unit="users" if cases.protocol == "loo" else "questions")
        try:
            found = evaluate(asked, cases, seed=args.seed, observer=Observer(told.on_progress, told.on_scalar))
        except ValueError as exc:
            raise InputError(f"{inputs.sources.log.name}: {exc}") from exc
    return found, {"embed": embedded - started, "evaluate": time.monotonic() - embedded}


def _settings(args: argparse.Namespace) -> RecommenderSettings:
    """Return the recommender's settings for this artifact, after a training with its encoder."""
    settings = load_settings(artifact=str(args.artifact)).recommender
    return replace(settings, encoder=args.encoder) if args.train else settings


def _cases(args: argparse.Namespace, log: Interactions) -> Cases:
    from models.evaluation.splits import leave_one_out, time_split

    if args.protocol == "loo":
        return leave_one_out(log)
    is_prequential = args.protocol == "prequential"
    return time_split(log, args.split, last_only=args.targets == "last", prequential=is_prequential)


def _artifact(
    args: argparse.Namespace, fit: FitOptions, inputs: TrainingInputs, cases: Cases
) -> tuple[Artifact, float]:
    """Return the artifact, trained here with ``--train``, and the seconds that training took."""
    from models.artifact.artifact import ArtifactError, load_artifact
    from streams.recommender.model.artifact_encoder import usable_device

    started = time.monotonic()
    if args.train:
        check_trainable(cases.train, inputs.sources.log.name)
        check_artifact_folder("DIR", args.artifact, len(inputs.log.item_ids))
        left_out: LeftOut = "last" if cases.protocol == "loo" else "none"
        artifact = train_artifact(fit, replace(inputs, log=cases.train), args.train, args.artifact, left_out)
        return artifact, time.monotonic() - started
    try:
        artifact = load_artifact(args.artifact, usable_device(fit.device))
    except ArtifactError as exc:
        raise HeadraceError(str(exc)) from exc
    if args.window_text and not artifact.takes_text:
        raise InputError(
            f"--window-text: {args.artifact} knows items by their ids alone; train it with --items, or leave the option out"
        )
    return artifact, 0.0


def _circumstances(
    args: argparse.Namespace, log: Interactions, cases: Cases, artifact: Artifact, policy: Repeats
) -> dict[str, Any]:
    manifest = artifact.manifest
    if cases.protocol == "loo":
        leaks = manifest.left_out != "last"
    else:
        leaks = bool(len(cases)) and manifest.trained_to_ms > int(log.ts_ms[cases.learnt].max(initial=0))
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return {
        "data": {
            "log": args.log[0].name,
            "events": len(log),
            "users": len(log.user_ids),
            "items": len(log.item_ids),
        },
        "artifact": artifact.version,
        "preset": manifest.preset,
        "encoder": manifest.encoder_name or None,
        "epochs": manifest.epochs,
        "protocol": cases.protocol,
        "targets": args.targets if cases.protocol != "loo" else "last",
        "split": args.split if cases.protocol != "loo" else None,
        "ties": args.ties,
        "seed": args.seed,
        "masked": policy.is_never,
        "policy": str(policy),
        "cases": len(cases),
        "repeats": cases.n_repeats,
        "leaks": leaks,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "memory_mb": peak_kb / 1024,
    }
