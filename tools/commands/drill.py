"""``headrace drill KIND``: a bounded failure test on topics of its own. Exit 0 only when nothing was lost, wrong or doubled."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from aiokafka.errors import KafkaError

from streams.errors import HeadraceError, InputError, RunError
from streams.settings.load import Settings, load_settings
from tools.broker.choice import names_broker, on_bar
from tools.broker.local_broker import running_broker
from tools.cli import emit, progress, say
from tools.drills.artifact import make_artifact
from tools.drills.events import Shares
from tools.drills.run import delete_topics, run_drill
from tools.drills.session import Drill, Plan

SUMMARY = "break things on purpose, and count what was lost"
#: Kind and its module: ``script(drill)`` does the harm. Where there is one, ``adapt(plan)`` says what it needs, ``prepare(drill)`` does
#: what comes before the workers, and ``epilogue(drill)`` what comes after the verdict.
KINDS: Final = {
    "kill": "kill",
    "rebalance": "rebalance",
    "broker-restart": "broker_restart",
    "poison": "poison",
    "slow-model": "slow_model",
    "soak": "soak",
    "overload": "overload",
    "replay": "replay",
}
#: Unless one is named, the broker of a drill is its own, for another command's broker ends with that command.
BROKER: Final = "broker"
MAX_USERS: Final = 5_000_000
MAX_RATE: Final = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("--users", type=int, default=100_000, metavar="N", help="users (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=500.0, metavar="N", help="events a second (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="of each app (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="kill: kills (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=5.0, metavar="M", help="soak, overload: how long (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of events and faults (default: %(default)s)")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="default: a small one made by the drill")
    parser.add_argument("--store", choices=("memory", "rocksdb"), default="memory", help="default: %(default)s")
    for name, share in vars(Shares()).items():
        parser.add_argument(
            f"--{name}-share", type=float, default=share, metavar="X", help=f"{name} events (default: {share:g})"
        )
    parser.add_argument("--log", type=Path, metavar="LOG", help="replay: a log instead of made events")
    parser.add_argument("--columns", default="", metavar="A=B,...", help="replay: of the log, as in headrace replay")
    parser.add_argument("--keep", action="store_true", help="keep topics and logs")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    plan = check_plan(args)
    prefix = f"drill-{plan.kind}-{uuid.uuid4().hex[:8]}."
    folder = Path(tempfile.mkdtemp(prefix="headrace-drill-"))
    is_good = False
    try:
        named = load_settings(broker=args.broker, topic_prefix=prefix) if names_broker(args) else None
        with _broker(named, plan, folder) as broker:
            artifact = args.artifact or make_artifact(folder, plan.seed)
            environ = os.environ | dict(plan.variables)
            settings = load_settings(environ, broker=broker.bootstrap, topic_prefix=prefix, artifact=str(artifact))
            if plan.n_workers > settings.kafka.partitions:
                raise InputError(
                    f"--workers {plan.n_workers}: must be 1 to {settings.kafka.partitions}, the partitions"
                )
            try:
                report = asyncio.run(_run(Drill(settings, plan, broker, folder, say), args.keep))
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
        report["broker"] = f"{broker.engine} {broker.version}".strip()
        emit(args, report, as_lines(report))
        if report["problems"]:
            raise RunError(f"{plan.kind}: {'; '.join(report['problems'])}; logs: {folder}")
        is_good = True
    finally:
        if not args.keep:
            shutil.rmtree(folder / BROKER, ignore_errors=True)
            if is_good or not any(folder.glob("*.log")):  # logs of a failure are kept
                shutil.rmtree(folder, ignore_errors=True)
    return 0


def check_plan(args: argparse.Namespace) -> Plan:
    """Return what was asked for; raise :class:`InputError` for a number out of its range."""
    shares = Shares(args.repeat_share, args.late_share, args.malformed_share)
    limits: tuple[tuple[str, float, float, float], ...] = (
        ("users", args.users, 1, MAX_USERS),
        ("rate", args.rate, 1, MAX_RATE),
        ("workers", args.workers, 1, 64),
        ("kills", args.kills, 1, 1_000),
        ("minutes", args.minutes, 0.1, 10_080),
        ("repeat-share", shares.repeat, 0, 0.5),
        ("late-share", shares.late, 0, 0.4),
        ("malformed-share", shares.malformed, 0, 0.1),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise InputError(f"--{name} {value:.12g}: must be {least:.12g} to {most:.12g}")
    plan = Plan(args.kind, args.users, args.rate, args.kills, args.minutes, args.seed, args.workers, args.store, shares)
    plan = replace(plan, log=args.log, log_columns=args.columns)
    adapt: Callable[[Plan], Plan] = getattr(_module(plan.kind), "adapt", lambda plan: plan)
    return adapt(plan)


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"tools.drills.kinds.{KINDS[kind]}")


@contextlib.contextmanager
def _broker(named: Settings | None, plan: Plan, folder: Path) -> Any:
    with progress() as bar:
        if named is not None and plan.has_own_broker:
            raise InputError(
                f"{plan.kind}: kills its broker and starts one of its own for that; leave --broker and HEADRACE_BROKER out"
            )
        if named is not None:
            with running_broker(named.kafka.broker, client=named.kafka.security_arguments()) as broker:
                yield broker
            return
        engine = "kafka" if plan.has_own_broker else "auto"
        with running_broker(engine=engine, port=0, data_dir=folder / BROKER, progress=on_bar(bar)) as broker:
            bar.stop()
            for note in broker.notes:
                say(f"broker: {note}")
            yield broker


async def _run(drill: Drill, keep: bool) -> dict[str, Any]:
    module = _module(drill.plan.kind)
    prepare: Callable[[Drill], None] = getattr(module, "prepare", lambda drill: None)
    prepare(drill)
    epilogue: Callable[[Drill], Any] | None = getattr(module, "epilogue", None)
    loop, running = asyncio.get_running_loop(), asyncio.ensure_future(run_drill(drill, module.script, epilogue))
    # A supervisor's SIGTERM stops the workers too, as Ctrl-C does; also where a script has Ctrl-C ignored.
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        return await running
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        if not keep:
            await _clean_up(drill)


async def _clean_up(drill: Drill) -> None:
    """Delete the topics; a broker that is gone must not hide why the drill ended."""
    try:
        await delete_topics(drill.settings.kafka)
    except (HeadraceError, KafkaError) as exc:
        say(f"topics {drill.settings.kafka.topic_prefix}* stay on {drill.broker.bootstrap}: {exc}")


def as_lines(report: dict[str, Any]) -> list[str]:
    """Return the report for people."""
    hidden = ("faults", "examples", "problems", "ended_by_themselves")
    lines = [f"{name}: {value}" for name, value in report.items() if name not in hidden]
    lines += report["ended_by_themselves"] + report["examples"]
    return [*lines, "; ".join(report["problems"]) or "all well"]
