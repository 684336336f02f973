"""``headrace evaluate``: the served pipeline and its parts against baselines, on a log."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from streams.errors import HeadraceError, InputError
from tools.cli import UsageError, emit, progress
from tools.train import add_log_arguments, check_seed, embed_items, read_log

SUMMARY = "evaluate an artifact against baselines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("artifact", type=Path, metavar="DIR", help="the artifact")
    add_log_arguments(parser)
    parser.add_argument("--protocol", choices=("loo", "time"), default="loo", help="leave one out, or split at a time")
    parser.add_argument(
        "--split", type=float, default=0.9, help="share of events before the split (default: %(default)s)"
    )
    parser.add_argument("--ties", choices=("file", "shuffled"), default="file", help="order of events of equal time")
    parser.add_argument("--seed", type=int, default=1, help="of the shuffling (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the models run")


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    from models.artifact import ArtifactError, load_artifact
    from models.evaluation import evaluate, leave_one_out, shuffle_ties, time_split
    from streams.embedding_worker import resolve_device
    from streams.encoders import open_artifact_encoder

    check_seed(args.seed)
    if not 0 < args.split < 1:
        raise UsageError(f"--split {args.split}: must be between 0 and 1")
    device = resolve_device(args.device)
    try:
        artifact = load_artifact(args.artifact, device)
    except ArtifactError as exc:
        raise HeadraceError(str(exc)) from exc
    log = read_log(args)
    if args.ties == "shuffled":
        log = shuffle_ties(log, args.seed)
    vectors = embed_items(args, *open_artifact_encoder(artifact, device, "")) if args.items else {}
    length = artifact.sequence.config.max_length
    cases = leave_one_out(log, length) if args.protocol == "loo" else time_split(log, args.split, length)
    with progress() as bar:
        task = bar.add_task("evaluate", total=len(cases))
        try:
            models = evaluate(artifact, vectors, cases, lambda done, _total: bar.update(task, completed=done))
        except ValueError as exc:
            raise InputError(f"{args.log}: {exc}") from exc
    result = {
        "artifact": artifact.version,
        "protocol": args.protocol,
        "users": len(cases.users),
        "cases": len(cases),
        "repeats": cases.n_repeats,
        "ties": args.ties,
        "seed": args.seed,
        "leaks": bool(artifact.manifest.trained_to_ms >= min(cases.now_ms)),
        "models": models,
    }
    emit(args, result, as_table(result))
    return 0


def as_table(result: dict[str, Any]) -> str:
    """Return the result for people."""
    lines = [f"{'model':<18} {'HR@10':>8} {'NDCG@10':>8} {'MRR':>8} {'coverage':>9} {'novelty':>8}"]
    for name, m in result["models"].items():
        values = f"{m['hr@10']:>8.4f} {m['ndcg@10']:>8.4f} {m['mrr']:>8.4f} {m['coverage']:>9.4f} {m['novelty']:>8.2f}"
        lines.append(f"{name:<18} {values}")
    lines.append(
        f"{result['protocol']}, full ranking, seen items masked, ties {result['ties']}, {result['cases']} targets"
    )
    if result["protocol"] == "loo":
        lines.append("leave-one-out: all models know other users' events after the question, as in published protocols")
    if result["repeats"]:
        lines.append(f"{result['repeats']} targets are items the user had before: masked, and so missed by every model")
    if result["leaks"]:
        lines.append("the artifact was trained on events after some targets: its rows are too good; train with --until")
    return "\n".join(lines)
