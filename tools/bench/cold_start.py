"""``headrace bench cold-start``: lists for users without events, from follows and features."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streams.errors import InputError
from tools.bench.subject import Subject
from tools.cli import progress
from tools.files.entries.sources import UserSource
from tools.files.file_options import FileOptions, parse_columns
from tools.files.formats.named_files import check_exist
from tools.files.raw_rows import raw_rows

if TYPE_CHECKING:
    from models.evaluation.cold_sources import ColdData


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
    """

    interactions: Path
    follows: Path | None
    users: UserSource | None
    columns: Mapping[str, str]
    seeds: Sequence[int]


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
    )


def run(options: Options) -> dict[str, Any]:
    """Measure with each seed; return medians."""
    from models.evaluation.cold_evaluation import CONFIG, evaluate_cold

    data = read_data(options)
    runs = []
    with progress() as bar:
        for seed in bar.track(options.seeds, description="cold start"):
            try:
                runs.append(evaluate_cold(data, CONFIG, seed))
            except ValueError as exc:
                raise InputError(f"{options.interactions}: {exc}") from exc
    return {
        "users": int(len(np.unique(data.users))),
        "items": data.n_items,
        "interactions": len(data.users),
        "follows": int(data.mask.sum()),
        "features": data.features.shape[1],
        "seeds": list(options.seeds),
        "unseen": median_of([one["unseen"]["methods"] for one in runs]),
        "curve": median_of([one["curve"]["points"] for one in runs]),
        "strength": [one["curve"]["strength"] for one in runs],
        "fade": [one["curve"]["fade"] for one in runs],
        "weights": [one["unseen"]["weights"] for one in runs],
        "curve_users": [one["curve"]["users"] for one in runs],
    }


def read_data(options: Options) -> ColdData:
    """Return the arrays of the files that the options name."""
    from models.evaluation.cold_sources import ColdData

    pairs = read_pairs(options.interactions, options.columns, ("user_id", "item_id"))
    if not pairs:
        raise InputError(
            f"{options.interactions}: no interactions; map the columns with --columns user_id=NAME,item_id=NAME"
        )
    user_row = {user: i for i, user in enumerate(sorted({user for user, _ in pairs}))}
    item_row = {item: i for i, item in enumerate(sorted({item for _, item in pairs}))}
    coded = np.unique(np.array([(user_row[u], item_row[i]) for u, i in pairs], dtype=np.int64), axis=0)
    follows, mask = _follows(options.follows, user_row)
    features = _features(options, list(user_row))
    # Popularity gives ties to the lower row. Shuffled rows keep the order of the file from helping
    # it.
    shuffled = np.random.default_rng(0).permutation(len(item_row)).astype(np.int64)
    return ColdData(coded[:, 0], shuffled[coded[:, 1]], len(user_row), len(item_row), follows, mask, features)


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


def _follows(path: Path | None, user_row: Mapping[str, int]) -> tuple[Any, Any]:
    """Return the follows of each user, padded, (n_users, m) int64, and a mask of the real ones.

    Only follows among users with interactions count.
    """
    followed: dict[int, set[int]] = {}
    for one, other in read_pairs(path, {"who": "0", "whom": "1"}, ("who", "whom")) if path else ():
        who, whom = user_row.get(one), user_row.get(other)
        if who is not None and whom is not None and who != whom:
            followed.setdefault(who, set()).add(whom)
    longest = max((len(found) for found in followed.values()), default=0)
    follows = np.zeros((len(user_row), longest), dtype=np.int64)
    mask = np.zeros((len(user_row), longest), dtype=np.bool_)
    for who, found in followed.items():
        follows[who, : len(found)], mask[who, : len(found)] = sorted(found), True
    return follows, mask


def _features(options: Options, user_ids: Sequence[str]) -> Any:
    """Return users' features, (n_users, p) float32; missing ones are 0, which is their mean.

    There are no columns without ``--users``. All users decide which columns there are, hidden users
    too, because their features are known.
    """
    from models.features.columns import user_row
    from models.features.side_features import fit_side_features

    users = options.users.read() if options.users else {}
    rows = [user_row(users.get(user_id, {})) for user_id in user_ids]
    no_text = np.zeros((len(rows), 0), dtype=np.float32)
    return fit_side_features(rows, no_text, "mean").encode(rows, no_text)


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
    lines.append(
        f"full ranking, medians of {len(result['seeds'])} seeds; a fifth of {result['users']} users hidden, half of it test"
    )
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
