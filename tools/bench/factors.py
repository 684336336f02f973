"""``headrace bench factors``: ALS of headrace and of ``implicit`` on one log, one thread each.

The two minimise different functions. ``implicit`` has the classic objective of Hu, Koren and
Volinsky (2008) with one regularisation for all rows. headrace scales the regularisation by the data
of a row (Rendle et al., 2021). The peer gets headrace's weights as far as its objective has them:
the same ratio of observed to unobserved pairs, and the mean regularisation. The peer runs twice:
with three steps of conjugate gradients a row, as its users run it, and with its exact solver, which
compares with headrace's. Times are processor times, which other programs on the machine do not
change much. The fits are interleaved.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from models.base.types import Float32, Int64
from models.factors.als import AlsConfig, fit_als
from models.factors.item_neighbours import interaction_matrix
from models.metrics.ranking import ranks_of_targets, summarize
from streams.errors import InputError, RunError
from tools.bench.subject import Subject
from tools.cli import progress

DIFFERENCE: Final = (
    "implicit minimises the classic objective (one regularisation for all rows), ours scales it by each row's data; "
    "same weights otherwise; full ranking, seen items masked"
)
TASTE_DIM: Final = 12
#: Users whose scores are in memory at a time.
USERS_AT_A_TIME: Final = 500

Fit = Callable[[int], tuple[Float32, Float32]]


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    per_user : mean number of items of a user
    dim, sweeps : factors and sweeps of each fit
    repeats : fits of each program
    seed : of the log, and of the first fit
    """

    n_users: int
    n_items: int
    per_user: int
    dim: int
    sweeps: int
    repeats: int
    seed: int


@dataclass(frozen=True)
class TasteLog:
    """A synthetic log without repeats.

    Parameters
    ----------
    users, items : (n,) int64, the pairs to learn from
    targets : (n_users,) int64, an item of each user that is held out
    """

    users: Int64
    items: Int64
    targets: Int64
    n_items: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--users", type=int, default=6_000, help="users (default: %(default)s)")
    parser.add_argument("--items", type=int, default=3_400, help="items (default: %(default)s)")
    parser.add_argument(
        "--per-user", type=int, default=40, help="mean number of items of a user (default: %(default)s)"
    )
    parser.add_argument("--dim", type=int, default=64, help="factors (default: %(default)s)")
    parser.add_argument("--sweeps", type=int, default=16, help="sweeps of each fit (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="fits of each program, interleaved (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the log and of the fits (default: %(default)s)")


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    if min(args.users, args.repeats, args.dim, args.sweeps) < 1 or args.items < 20 or args.per_user < 3:
        raise InputError("--users, --repeats, --dim and --sweeps must be at least 1, --items 20, --per-user 3")
    return Options(args.users, args.items, args.per_user, args.dim, args.sweeps, args.repeats, args.seed)


def taste_log(*, n_users: int, n_items: int, per_user: int, seed: int) -> TasteLog:
    """Return a log of users who draw items by latent taste and popularity, without replacement.

    One item of each user is held out. A user has at least 3 items; their number is exponential with
    a mean of about ``per_user``. The items are drawn by the Gumbel trick: those with the largest
    sums of log-weight and noise are a sample without replacement.
    """
    rng = np.random.default_rng(seed)
    tastes = rng.standard_normal((n_users, TASTE_DIM), dtype=np.float32)
    traits = rng.standard_normal((n_items, TASTE_DIM), dtype=np.float32)
    popularity = -0.7 * np.log1p(rng.permutation(n_items)).astype(np.float32)
    lengths = np.clip(rng.exponential(per_user, n_users).astype(np.int64), 3, n_items // 2)
    held: list[Int64] = []
    for start in range(0, n_users, USERS_AT_A_TIME):
        part = slice(start, start + USERS_AT_A_TIME)
        weights = 0.7 * tastes[part] @ traits.T + popularity
        order = np.argsort(rng.gumbel(size=weights.shape) + weights, axis=1)[:, ::-1]
        # The draw is roughly in the order of weight. Without a shuffle the held-out item would be
        # the least typical one.
        held += [rng.permutation(row[:length]) for row, length in zip(order, lengths[part], strict=True)]
    users = np.repeat(np.arange(n_users), lengths - 1)
    return TasteLog(users, np.concatenate([row[:-1] for row in held]), np.array([row[-1] for row in held]), n_items)


def run(options: Options) -> dict[str, Any]:
    """Measure every program on one log."""
    log = taste_log(n_users=options.n_users, n_items=options.n_items, per_user=options.per_user, seed=options.seed)
    config = AlsConfig(dim=options.dim, n_sweeps=options.sweeps)
    with threadpool_limits(1):
        runs = _measure(programs(log, config), log, options)
    return summarize_runs(runs) | {
        "users": options.n_users,
        "items": options.n_items,
        "interactions": len(log.users),
        "dim": options.dim,
        "sweeps": options.sweeps,
        "repeats": options.repeats,
        "difference": DIFFERENCE,
        "machine": f"1 thread of {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def programs(log: TasteLog, config: AlsConfig) -> dict[str, Fit]:
    """Return, by name, a function from a seed to user factors and item factors."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as exc:
        raise RunError("the peer is not installed: pip install implicit==0.7.3") from exc
    matrix = interaction_matrix(log.users, log.items, len(log.targets), log.n_items)
    alpha, regularisation = peer_weights(log, config)

    def ours(seed: int) -> tuple[Float32, Float32]:
        fitted = fit_als(log.users, log.items, len(log.targets), log.n_items, config, seed)
        return fitted.users, fitted.items

    def peer(seed: int, *, use_cg: bool) -> tuple[Float32, Float32]:
        model = AlternatingLeastSquares(
            factors=config.dim,
            regularization=regularisation,
            alpha=alpha,
            iterations=config.n_sweeps,
            use_cg=use_cg,
            num_threads=1,
            random_state=seed,
        )
        model.fit(matrix, show_progress=False)
        return model.user_factors, model.item_factors

    return {
        "headrace": ours,
        "implicit_cg": lambda seed: peer(seed, use_cg=True),
        "implicit_exact": lambda seed: peer(seed, use_cg=False),
    }


def peer_weights(log: TasteLog, config: AlsConfig) -> tuple[float, float]:
    """Return the classic objective's confidence and regularisation that come closest to ours.

    headrace weighs an observed pair ``1 + w`` and an unobserved pair ``w``; the classic objective
    weighs them ``alpha`` and 1. Divided by ``w``, headrace's objective has the same form, with the
    mean over users and items of its frequency-scaled regularisation.
    """
    w, (n_users, n_items) = config.unobserved_weight, (len(log.targets), log.n_items)
    by_user = (np.bincount(log.users, minlength=n_users) + w * n_items) ** config.frequency_exponent
    by_item = (np.bincount(log.items, minlength=n_items) + w * n_users) ** config.frequency_exponent
    mean = float(np.concatenate([by_user, by_item]).mean())
    return (1.0 + w) / w, config.regularisation * mean / w


def _measure(fits: dict[str, Fit], log: TasteLog, options: Options) -> dict[str, list[dict[str, float]]]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in fits}
    with progress() as bar:
        task = bar.add_task("bench factors", total=options.repeats * len(fits))
        for repeat in range(options.repeats):
            for name, fit in fits.items():
                start = time.process_time()
                users, items = fit(options.seed + repeat)
                seconds = (time.process_time() - start) / options.sweeps
                runs[name].append(
                    {"cpu_s_per_sweep": seconds} | summarize(np.concatenate(list(_ranks(users, items, log))))
                )
                bar.advance(task)
    return runs


def _ranks(user_factors: Float32, item_factors: Float32, log: TasteLog) -> Iterator[Int64]:
    seen = interaction_matrix(log.users, log.items, len(log.targets), log.n_items)
    for start in range(0, len(log.targets), USERS_AT_A_TIME):
        part = slice(start, start + USERS_AT_A_TIME)
        scores = user_factors[part] @ item_factors.T
        scores[seen[part].nonzero()] = -np.inf
        yield ranks_of_targets(scores, log.targets[part])


def summarize_runs(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the medians of each program, and the median ratio of interleaved pairs, theirs / ours.

    A ratio above 1 means that headrace is faster.
    """
    rows = {}
    for name, results in runs.items():
        seconds = [result["cpu_s_per_sweep"] for result in results]
        rows[name] = {
            "cpu_s_per_sweep": statistics.median(seconds),
            "min": min(seconds),
            "max": max(seconds),
            "ndcg@10": statistics.median(result["ndcg@10"] for result in results),
        }
    ratios = {
        f"speed_vs_{name}": statistics.median(
            theirs["cpu_s_per_sweep"] / ours["cpu_s_per_sweep"]
            for theirs, ours in zip(results, runs["headrace"], strict=True)
        )
        for name, results in runs.items()
        if name != "headrace"
    }
    return {"programs": rows} | ratios


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [f"{'program':<15} {'CPU ms/sweep':>12} {'min':>9} {'max':>9} {'NDCG@10':>8}"]
    for name, row in result["programs"].items():
        median, least, most = (1e3 * row[key] for key in ("cpu_s_per_sweep", "min", "max"))
        lines.append(f"{name:<15} {median:>12.1f} {least:>9.1f} {most:>9.1f} {row['ndcg@10']:>8.4f}")
    for name in ("implicit_cg", "implicit_exact"):
        lines.append(f"{name} / headrace, CPU time of a sweep: {result[f'speed_vs_{name}']:.2f}")
    lines.append(result["difference"])
    size = (
        f"{result['interactions']} interactions, {result['users']} users, {result['items']} items, dim {result['dim']}"
    )
    lines.append(f"{size}; {result['machine']}; {result['date']}; {result['repeats']} interleaved fits")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
