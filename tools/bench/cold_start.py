"""``headrace bench cold-start``: the served lists of users without events, and with their first.

Each seed hides a fifth of the users with all their events, trains an artifact on the others as
``headrace train --no-times`` does, and asks the pipeline that serves for the lists of the hidden.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from streams.errors import InputError
from tools.bench.subject import Subject
from tools.cli import progress
from tools.files.entries.sources import UserSource
from tools.files.file_options import FileOptions, parse_columns
from tools.files.formats.named_files import check_exist
from tools.files.raw_rows import raw_rows

if TYPE_CHECKING:
    from models.features.columns import Row
    from models.interactions import Interactions


#: What the result lists by seed.
BY_SEED: Final = ("gain", "curve_gain", "sources", "weights", "leans_until", "curve_users")


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    interactions : a row per interaction: user and item
    follows : a row per follow: who, whom; None for no follows
    users : features of users; None for no features
    columns : contract names to the columns of ``interactions``
    seeds : the benchmark runs once with each
    preset : of the training
    """

    interactions: Path
    follows: Path | None
    users: UserSource | None
    columns: Mapping[str, str]
    seeds: Sequence[int]
    preset: Literal["demo", "best"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--interactions", type=Path, metavar="FILE", help="a row per interaction: user and item, without times"
    )
    parser.add_argument("--follows", type=Path, metavar="FILE", help="a row per follow: who, whom")
    parser.add_argument(
        "--columns",
        default="user_id=0,item_id=1",
        metavar="A=B,...",
        help="columns of the interactions (default: %(default)s)",
    )
    UserSource.add_options(parser)
    parser.add_argument("--seeds", type=int, default=3, help="runs, with seeds 1, 2, ... (default: %(default)s)")
    parser.add_argument(
        "--preset", choices=("demo", "best"), default="best", help="sizes of the training (default: %(default)s)"
    )


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    users = UserSource.of(args)
    if args.interactions is None or (args.follows is None and users is None):
        raise InputError("cold-start needs --interactions FILE and at least one of --follows FILE and --users FILE")
    users = UserSource.of(args)
    if args.seeds < 1:
        raise InputError(f"--seeds {args.seeds}: must be at least 1")
    check_exist([*(path for path in (args.interactions, args.follows) if path), *(users.paths if users else ())])
    return Options(
        args.interactions,
        args.follows,
        users,
        parse_columns(args.columns),
        range(1, args.seeds + 1),
        args.preset,
    )


def run(options: Options) -> dict[str, Any]:
    """Measure with each seed; return medians, and what differs from seed to seed."""
    data = read_data(options)
    with progress() as bar:
        runs = [_measured(options, data, seed) for seed in bar.track(options.seeds, description="cold start")]
    return {
        "users": len(data.log.user_ids),
        "items": len(data.log.item_ids),
        "interactions": len(data.log),
        "follows": sum(map(len, data.follows.values())),
        "with_features": len(data.user_features),
        "preset": options.preset,
        "seeds": list(options.seeds),
        "unseen": median_of([one["unseen"] for one in runs]),
        "curve": median_of([one["curve"] for one in runs]),
        "asked": [one["users"] for one in runs],
        **{name: [one[name] for one in runs] for name in BY_SEED},
    }


def _measured(options: Options, data: Data, seed: int) -> dict[str, Any]:
    from models.evaluation.newcomers import NewcomerData, evaluate_newcomers, hidden_users
    from models.training.train import NO_TEXT, TrainingData, TrainingOptions, train

    try:
        asked = NewcomerData(data.log, data.user_features, data.follows, hidden_users(data.log, seed))
        artifact = train(
            TrainingData(asked.rest, {}, NO_TEXT, {}, data.user_features, data.follows),
            TrainingOptions(preset=options.preset, seed=seed, cut="last", is_ordered=False),
        )
        return evaluate_newcomers(asked, artifact, seed)
    except ValueError as exc:
        raise InputError(f"{options.interactions}: {exc}") from exc


@dataclass(frozen=True)
class Data:
    """Interactions without times, in random order, and what is known of their users, by user id."""

    log: Interactions
    user_features: Mapping[str, Row]
    follows: Mapping[str, Sequence[str]]


def read_data(options: Options) -> Data:
    """Return what the files that the options name hold.

    All users decide which features there are, hidden users too, because their features are known.
    """
    from models.features.columns import user_row
    from models.interactions import Interactions

    pairs = read_pairs(options.interactions, options.columns, ("user_id", "item_id"))
    if not pairs:
        raise InputError(
            f"{options.interactions}: no interactions; map the columns with --columns user_id=NAME,item_id=NAME"
        )
    # Popularity gives ties to the lower row. Shuffled rows keep the order of the file from helping
    # it.
    once = sorted(set(pairs))
    shuffled = [once[i] for i in np.random.default_rng(0).permutation(len(once))]
    log = Interactions.from_rows((user, item, "view", 0) for user, item in shuffled)
    known = set(log.user_ids)
    users = options.users.read() if options.users else {}
    features = {user_id: user_row(user) for user_id, user in users.items() if user_id in known}
    return Data(log, features, _follows(options.follows, known))


def read_pairs(path: Path, columns: Mapping[str, str], fields: Sequence[str]) -> list[tuple[str, str]]:
    """Return two fields of each row of a file.

    Raises
    ------
    InputError
        When the file cannot be read or lacks a column, or a row lacks a field.
    """
    pairs = []
    named = ",".join(f"{name}={columns[name]}" for name in fields if name in columns)
    for _file, line, values in raw_rows([path], FileOptions(named), fields, fields):
        if isinstance(values, str) or not all(values):
            problem = values if isinstance(values, str) else f"needs {' and '.join(fields)}"
            raise InputError(f"{path}: line {line}: {problem}; mend the line or map the columns")
        pairs.append((str(values[0]).strip(), str(values[1]).strip()))
    return pairs


def _follows(path: Path | None, known: set[str]) -> dict[str, list[str]]:
    """Return whom each user follows; only follows among users with interactions count."""
    followed: dict[str, dict[str, None]] = {}
    for who, whom in read_pairs(path, {"who": "0", "whom": "1"}, ("who", "whom")) if path else ():
        if who in known and whom in known and who != whom:
            followed.setdefault(who, {})[whom] = None
    return {who: list(whom) for who, whom in followed.items()}


def median_of(runs: Sequence[Any]) -> Any:
    """Return the median of numbers, level by level in nested mappings of the same keys."""
    if isinstance(runs[0], Mapping):
        return {key: median_of([run[key] for run in runs]) for key in runs[0]}
    return statistics.median(runs)


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [f"{'users without events':<28} {'HR@10':>8} {'NDCG@10':>8} {'recall@10':>10}"]
    for name, m in result["unseen"].items():
        lines.append(f"{name:<28} {m['hr@10']:>8.4f} {m['ndcg@10']:>8.4f} {m['recall@10']:>10.4f}")
    methods = list(next(iter(result["curve"].values())))
    lines.append("")
    lines.append(f"{'NDCG@10 after events':<22} " + " ".join(f"{name:>14}" for name in methods))
    for n, point in result["curve"].items():
        lines.append(f"{n:<22} " + " ".join(f"{point[name]['ndcg@10']:>14.4f}" for name in methods))
    lines.append("")
    for i, seed in enumerate(result["seeds"]):
        gain, error = result["gain"][i]
        weights = ", ".join(f"{name} {value:g}" for name, value in result["weights"][i].items())
        lines.append(
            f"seed {seed}: served over popularity {gain:+.4f} +- {error:.4f}; {result['sources'][i]} of "
            f"{result['asked'][i]} first lists stand on features or follows; {weights}"
        )
        gains = ", ".join(
            f"{n} {point['served'][0]:+.4f} +- {point['served'][1]:.4f}" for n, point in result["curve_gain"][i].items()
        )
        lines.append(f"  after events: {gains}; lists lean until {result['leans_until'][i]:g} events")
    lines.append(f"full ranking, medians of {len(result['seeds'])} seeds; a fifth of {result['users']} users hidden")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
