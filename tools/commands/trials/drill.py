"""``headrace drill KIND``: a bounded failure test on topics of its own.

The exit code is 0 only when no event was lost, no window or list was wrong, and none was doubled.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from streams.errors import InputError, RunError
from streams.settings.load import load_settings
from tools.broker.choice import names_broker
from tools.cli import emit
from tools.drills.conduct import Stage, conduct
from tools.drills.events import Shares
from tools.drills.kind import KINDS, load_kind
from tools.drills.plan import Needs, Plan

MAX_USERS: Final = 5_000_000
MAX_RATE: Final = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    what_each_does = "; ".join(f"{name}: {harm}" for name, harm in KINDS.items())
    parser.add_argument("kind", metavar="KIND", choices=tuple(KINDS), help=what_each_does)
    parser.add_argument(
        "--users",
        type=int,
        metavar="N",
        help="number of users (default: 100000; rules 20000; forget, model-swap 10000; serve 2000)",
    )
    parser.add_argument("--rate", type=float, metavar="N", help="events a second (default: 500; rules 1500; serve 100)")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="workers of each app (default: %(default)s)"
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=10,
        metavar="N",
        help="kill: how many workers; serve: servers (default: %(default)s)",
    )
    parser.add_argument(
        "--lists", type=int, default=100_000, metavar="N", help="rules: lists to judge (default: %(default)s)"
    )
    parser.add_argument(
        "--minutes", type=float, default=5.0, metavar="M", help="soak, overload: duration (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="seed of events and faults (default: %(default)s)"
    )
    parser.add_argument(
        "--artifact", type=Path, metavar="DIR", help="artifact (default: a small one, made for the drill)"
    )
    parser.add_argument(
        "--store",
        choices=("memory", "rocksdb"),
        default="memory",
        help="where sequencers keep their state (default: %(default)s)",
    )
    for name, share in vars(Shares()).items():
        parser.add_argument(
            f"--{name}-share",
            type=float,
            default=share,
            metavar="X",
            help=f"share of events that are {name} (default: {share:g})",
        )
    parser.add_argument("--log", type=Path, metavar="LOG", help="replay: a log instead of generated events")
    parser.add_argument(
        "--columns", default="", metavar="A=B,...", help="replay: columns of the log, as in headrace replay"
    )
    parser.add_argument("--keep", action="store_true", help="keep topics and logs after the drill")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    kind = load_kind(args.kind)
    plan = plan_of(args, kind.needs)
    broker = load_settings(broker=args.broker).kafka.broker if names_broker(args.broker) else None
    report, folder = conduct(kind, plan, Stage(broker, args.artifact, args.keep))
    emit(args, report, as_lines(report))
    if report["problems"]:
        raise RunError(f"{plan.kind}: {'; '.join(report['problems'])}; logs: {folder}")
    return 0


def plan_of(args: argparse.Namespace, needs: Needs) -> Plan:
    """Return what was asked for; raise :class:`InputError` for a number out of its range."""
    n_users = needs.n_users if args.users is None else args.users
    rate_per_s = needs.rate_per_s if args.rate is None else args.rate
    shares = Shares(args.repeat_share, args.late_share, args.malformed_share)
    limits: tuple[tuple[str, float, float, float], ...] = (
        ("users", n_users, 1, MAX_USERS),
        ("rate", rate_per_s, 1, MAX_RATE),
        ("workers", args.workers, 1, 64),
        ("kills", args.kills, 1, 1_000),
        ("lists", args.lists, 1, 100_000_000),
        ("minutes", args.minutes, 0.1, 10_080),
        ("repeat-share", shares.repeat, 0, 0.5),
        ("late-share", shares.late, 0, 0.4),
        ("malformed-share", shares.malformed, 0, 0.1),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise InputError(f"--{name} {value:.12g}: must be {least:.12g} to {most:.12g}")
    return Plan(
        kind=args.kind,
        n_users=n_users,
        rate_per_s=rate_per_s,
        kills=args.kills,
        minutes=args.minutes,
        seed=args.seed,
        n_workers=args.workers if needs.n_workers is None else needs.n_workers,
        store=args.store,
        shares=shares,
        log=args.log,
        log_columns=args.columns,
        needs=needs,
        n_lists=args.lists,
    )


def as_lines(report: dict[str, Any]) -> list[str]:
    """Return the report for people."""
    hidden = ("faults", "examples", "problems", "ended_by_themselves")
    lines = [f"{name}: {value}" for name, value in report.items() if name not in hidden]
    lines += report["ended_by_themselves"] + report["examples"]
    return [*lines, "; ".join(report["problems"]) or "all well"]
