"""``headrace bench cold-start``: users without events, served from whom they follow or what is known of them, by data files."""

from __future__ import annotations

import argparse
import gzip
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.cold_start import Features, fit_coding
from streams.errors import InputError
from tools.cli import UsageError, emit, progress

if TYPE_CHECKING:
    from models.cold_evaluation import ColdData

SUMMARY = "unseen users from follows and features, against popularity"
SEPARATORS: Final = ("\t", "|", ",")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "--interactions",
        type=Path,
        metavar="FILE",
        help="a line per interaction: user, item and maybe more, cut at tab, | or comma, else at white space; .gz too",
    )
    parser.add_argument("--follows", type=Path, metavar="FILE", help="a line per follow: who, whom; as --interactions")
    parser.add_argument(
        "--users", type=Path, metavar="FILE", help="a line per user: id and features; as --interactions"
    )
    parser.add_argument(
        "--columns", default="user=0,item=1", help="of the interactions, by position or header (default: %(default)s)"
    )
    parser.add_argument("--user-columns", default="", metavar="user=0,age=1", help="of --users, by position or header")
    parser.add_argument("--seeds", type=int, default=3, help="runs, with seeds 1, 2, ... (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure and report."""
    from models.cold_evaluation import CONFIG, evaluate_cold

    if args.interactions is None or (args.follows is None and args.users is None):
        raise UsageError("cold-start needs --interactions FILE and at least one of --follows FILE and --users FILE")
    if args.seeds < 1:
        raise UsageError(f"--seeds {args.seeds}: must be at least 1")
    data = read_data(args)
    runs = []
    with progress() as bar:
        for seed in bar.track(range(1, args.seeds + 1), description="cold start"):
            try:
                runs.append(evaluate_cold(data, CONFIG, seed))
            except ValueError as exc:
                raise InputError(f"{args.interactions}: {exc}") from exc
    result = {
        "users": int(len(np.unique(data.users))),
        "items": data.n_items,
        "interactions": len(data.users),
        "follows": int(data.mask.sum()),
        "features": data.features.shape[1],
        "seeds": list(range(1, args.seeds + 1)),
        "unseen": median_of([one["unseen"]["methods"] for one in runs]),
        "curve": median_of([one["curve"]["points"] for one in runs]),
        "strength": [one["curve"]["strength"] for one in runs],
        "fade": [one["curve"]["fade"] for one in runs],
        "weights": [one["unseen"]["weights"] for one in runs],
        "curve_users": [one["curve"]["users"] for one in runs],
    }
    emit(args, result, as_table(result))
    return 0


def read_data(args: argparse.Namespace) -> ColdData:
    """Return the arrays of the files that the arguments name."""
    from models.cold_evaluation import ColdData

    columns = parse_columns("--columns", args.columns, ("user", "item"))
    pairs = [(row["user"], row["item"]) for row in read_rows(args.interactions, columns)]
    if not pairs:
        raise InputError(f"{args.interactions}: no interactions; map the columns with --columns user=NAME,item=NAME")
    user_row = {user: i for i, user in enumerate(sorted({user for user, _ in pairs}))}
    item_row = {item: i for i, item in enumerate(sorted({item for _, item in pairs}))}
    coded = np.unique(np.array([(user_row[u], item_row[i]) for u, i in pairs], dtype=np.int64), axis=0)
    follows, mask = _follows(args.follows, user_row)
    features = _features(args, user_row)
    # Popularity's ties go to the lower row: rows in an order of their own keep an order of the file from helping.
    shuffled = np.random.default_rng(0).permutation(len(item_row)).astype(np.int64)
    return ColdData(coded[:, 0], shuffled[coded[:, 1]], len(user_row), len(item_row), follows, mask, features)


def parse_columns(option: str, text: str, needed: Sequence[str]) -> dict[str, str]:
    """Return ``name=column,...`` as a mapping; raise :class:`UsageError` where it is malformed or lacks a name."""
    parts = [part.partition("=") for part in text.split(",") if part]
    columns = {name.strip(): column.strip() for name, _, column in parts}
    if any(not column for column in columns.values()) or not set(needed) <= set(columns):
        raise UsageError(f"{option} {text!r}: must be name=column,... with {' and '.join(needed)}")
    return columns


def read_rows(path: Path, columns: Mapping[str, str]) -> Iterable[dict[str, str]]:
    """Yield the named fields of each line of a file, plain or gzip.

    Columns are positions from 0, or all of them names in the first line. With positions, a first line is taken for a header where
    its fields have no digit and the second line's have.

    Raises
    ------
    InputError
        When the file cannot be read, lacks a column, or a line has too few fields.
    """
    lines = _lines(path)
    if not lines:
        return
    separator = next((s for s in SEPARATORS if s in lines[0]), None)
    first = _fields(lines[0], separator)
    by_position = all(column.isdigit() for column in columns.values())
    missing = [column for column in columns.values() if not by_position and column not in first]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r} in the first line; name one of {', '.join(first)[:200]}")
    places = {name: int(column) if by_position else first.index(column) for name, column in columns.items()}
    start = 0 if by_position and not _is_header(lines, separator, list(places.values())) else 1
    for number, line in enumerate(lines[start:], start + 1):
        fields = _fields(line, separator)
        if len(fields) <= max(places.values()):
            raise InputError(f"{path}: line {number} has {len(fields)} fields, needs {max(places.values()) + 1}")
        yield {name: fields[place] for name, place in places.items()}


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as exc:  # a damaged gzip file is an OSError, one cut short an EOFError
        raise InputError(f"{path}: {exc}") from exc
    return [line for line in content.decode("utf-8", "replace").splitlines() if line.strip()]


def _fields(line: str, separator: str | None) -> list[str]:
    return [field.strip() for field in line.split(separator)]


def _is_header(lines: Sequence[str], separator: str | None, places: Sequence[int]) -> bool:
    def has_digit(line: str) -> bool:
        fields = _fields(line, separator)
        return any(c.isdigit() for place in places if place < len(fields) for c in fields[place])

    return len(lines) > 1 and not has_digit(lines[0]) and has_digit(lines[1])


def _follows(path: Path | None, user_row: Mapping[str, int]) -> tuple[Any, Any]:
    """Return follows among users with interactions, padded, (n_users, m) int64, and which are there."""
    followed: dict[int, set[int]] = {}
    rows = read_rows(path, {"who": "0", "whom": "1"}) if path else ()
    for row in rows:
        who, whom = user_row.get(row["who"]), user_row.get(row["whom"])
        if who is not None and whom is not None and who != whom:
            followed.setdefault(who, set()).add(whom)
    longest = max((len(found) for found in followed.values()), default=0)
    follows = np.zeros((len(user_row), longest), dtype=np.int64)
    mask = np.zeros((len(user_row), longest), dtype=np.bool_)
    for who, found in followed.items():
        follows[who, : len(found)], mask[who, : len(found)] = sorted(found), True
    return follows, mask


def _features(args: argparse.Namespace, user_row: Mapping[str, int]) -> Any:
    """Return users' features, (n_users, p) float32; none without --users."""
    if args.users is None:
        return np.zeros((len(user_row), 0), dtype=np.float32)
    columns = parse_columns("--user-columns", args.user_columns, ("user",))
    rows = list(read_rows(args.users, columns))
    names = [name for name in columns if name != "user"]
    numeric = {name for name in names if all(_number(row[name]) is not None for row in rows if row[name])}
    users: list[Features] = [{}] * len(user_row)
    for row in rows:
        place = user_row.get(row["user"])
        if place is not None:
            users[place] = {name: _number(row[name]) if name in numeric else row[name] or None for name in names}
    return fit_coding(users).encode(users)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def median_of(runs: Sequence[Any]) -> Any:
    """Return the median of numbers, level by level in nested mappings of the same keys."""
    if isinstance(runs[0], Mapping):
        return {key: median_of([run[key] for run in runs]) for key in runs[0]}
    return statistics.median(runs)


def as_table(result: dict[str, Any]) -> str:
    """Return the result for people."""
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
    return "\n".join(lines)
