"""``headrace models publish|list|show|rollback``: which artifact recommenders and servers serve."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from typing import Final

from streams.announcements.sending.announce import announced
from streams.announcements.sending.models import current
from streams.contract.announcements import ModelAnnouncement
from streams.errors import InputError
from streams.settings.load import Settings, load_settings
from tools.announcing.models import TIMEOUT_S, Swap, as_row, check_name, publish_artifact, roll_back
from tools.cli import add_common_arguments, emit, say, write_row

MAX_REFRESH_DAYS: Final = 3_650


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    publish = actions.add_parser("publish", help="announce an artifact, and wait until it is in force")
    publish.add_argument(
        "folder", metavar="DIR", help="the artifact: a folder or a URI; recommenders and servers read the same place"
    )
    rollback = actions.add_parser("rollback", help="announce the artifact before the present one again")
    listing = actions.add_parser("list", help="list what is announced under each name")
    show = actions.add_parser("show", help="show what is announced under a name")
    for action in (publish, rollback):
        action.add_argument(
            "--no-wait", action="store_true", help="do not wait for the receipts of recommenders and servers"
        )
        action.add_argument(
            "--timeout", type=float, default=TIMEOUT_S, metavar="S", help="wait for so long (default: %(default)g)"
        )
        action.add_argument(
            "--refresh", type=float, metavar="DAYS", help="give users who were active within DAYS new lists"
        )
    for action in (publish, rollback, show):
        action.add_argument("--name", default="live", help="deployment name, HEADRACE_MODEL_NAME of its workers")
    for action in (publish, rollback, listing, show):
        add_common_arguments(action, is_action=True)


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code.

    It is 1 where a live recommender or server did not answer in time, or could not take the
    artifact.
    """
    settings = load_settings(broker=args.broker)
    if args.action == "list":
        return _list(args, settings)
    check_name("--name", args.name)
    if args.action == "show":
        return _show(args, settings)
    if args.refresh is not None and not 0 <= args.refresh <= MAX_REFRESH_DAYS:
        raise InputError(f"--refresh {args.refresh:g}: must be 0 to {MAX_REFRESH_DAYS} days")
    if not 0 <= args.timeout <= 86_400:
        raise InputError(f"--timeout {args.timeout:g}: must be 0 to 86400 s")
    timeout_s = None if args.no_wait else args.timeout
    if args.action == "publish":
        job = publish_artifact(settings.kafka, args.folder, args.name, refresh_days=args.refresh, timeout_s=timeout_s)
    else:
        if args.refresh is not None:
            say("--refresh: has no effect where the artifact before is the one that the settings name", style="yellow")
        job = roll_back(settings.kafka, args.name, refresh_days=args.refresh, timeout_s=timeout_s)
    return tell(args, asyncio.run(job))


def tell(args: argparse.Namespace, swap: Swap) -> int:
    """Print how recommenders and servers answered; return 0, or raise where one did not do it."""
    emit(args, swap.as_dict(), swap.as_lines())
    if swap.answers is not None:
        swap.answers.check(swap.what)
    return 0


def _list(args: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(announced(settings.kafka, "models", ModelAnnouncement))
    rows = {name: each.record for name, each in sorted(found.items()) if each.record is not None}
    if not args.json:
        for name, record in rows.items():
            write_row([name, record.artifact, record.uri, _utc(record.created_ts), record.previous or ""])
    emit(args, {"models": {name: as_row(record) for name, record in rows.items()}})
    return 0


def _show(args: argparse.Namespace, settings: Settings) -> int:
    held = asyncio.run(current(settings.kafka, args.name))
    if held is None or held.record is None:
        say(f"nothing is announced as {args.name!r}: recommenders serve what their settings name", style="yellow")
        emit(args, {"name": args.name, "model": None})
        return 1
    record = held.record
    lines = [
        f"name {args.name}, announcement {held.id}",
        f"artifact {record.artifact} in {record.uri}, announced {_utc(record.created_ts)}",
        f"before it: {record.previous or 'what the settings of the workers name'}",
        *(f"{name} {value:.4g}" for name, value in sorted(record.metrics.items())),
    ]
    emit(args, {"name": args.name, "announcement": held.id, "model": as_row(record)}, lines)
    return 0


def _utc(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
