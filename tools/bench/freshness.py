"""``headrace bench freshness``: how old a list is when it comes, at growing rates of events.

It starts a broker, both apps and a load, all on this machine, and looks from outside: from the
publication of an event until a reader of ``recommendations`` has a list that knows the event. An
event whose window was replaced before the model saw it counts until the list of the newer window.
The apps' own histograms (:mod:`streams.health.stage_times`) say in which stage the time went.

Every user has a full window before the first rate. Users and items are drawn as in the drills, the
one of rank r with a share proportional to 1 / r.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.errors import InputError, RunError
from streams.health.stage_times import RECOMMENDER_STAGES, SEQUENCER_STAGES
from streams.settings.load import Settings
from tools.bench.live.deployment import catch_up, deployment, prefill
from tools.bench.live.load import Outcome, Task
from tools.bench.live.worker_metrics import cpu_s, stage_counts
from tools.bench.subject import Subject
from tools.broker.local_broker import BrokerInfo
from tools.cli import progress, say
from tools.drills.artifact import MadeLog, catalogue_of, make_artifact
from tools.workers.process import Worker
from tools.workers.supervisor import running

RATES: Final = (50.0, 200.0, 400.0, 800.0, 1_500.0, 2_000.0, 3_000.0)
MAX_RATE_PER_S: Final = 20_000.0
MAX_SECONDS: Final = 600.0
WARM_UP_S: Final = 3.0
#: The limit of the 99th percentile that a rate must keep.
LIMIT_MS: Final = 300.0
#: Each user has this many events before the load begins: the longest window.
WINDOW: Final = 50
SIZE: Final = MadeLog(n_items=1_616, n_users=2_000, n_events_each=WINDOW)


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    broker : address of a broker; None for one that is started for the benchmark
    artifact : an artifact; None for one that is trained for the benchmark, of 1,616 items
    rates : events a second, rising
    seconds : of each rate, after the warm-up
    n_users : users of the load
    """

    broker: str | None
    artifact: Path | None
    rates: tuple[float, ...]
    seconds: float
    n_users: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    rates = ",".join(f"{rate:g}" for rate in RATES)
    parser.add_argument("--rates", default=rates, metavar="A,B,...", help="events a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each rate (default: %(default)g)")
    parser.add_argument("--users", type=int, default=SIZE.n_users, help="users (default: %(default)s)")
    parser.add_argument(
        "--artifact", type=Path, metavar="DIR", help="an artifact (default: one of 1,616 items is made)"
    )


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    try:
        rates = tuple(sorted({float(rate) for rate in args.rates.split(",")}))
    except ValueError as exc:
        raise InputError(f"--rates {args.rates}: must be numbers with commas between") from exc
    if not rates[0] >= 1 or not rates[-1] <= MAX_RATE_PER_S:
        raise InputError(f"--rates {args.rates}: each must be 1 to {MAX_RATE_PER_S:g} events a second")
    if not 1 <= args.seconds <= MAX_SECONDS:
        raise InputError(f"--seconds {args.seconds:g}: must be 1 to {MAX_SECONDS:g}")
    if not 1 <= args.users <= 1_000_000:
        raise InputError(f"--users {args.users}: must be 1 to 1000000")
    if args.artifact is not None and not (args.artifact / "manifest.json").is_file():
        raise InputError(f"--artifact {args.artifact}: has no manifest.json; make an artifact with headrace train")
    return Options(args.broker, args.artifact, rates, args.seconds, args.users)


def run(options: Options) -> dict[str, Any]:
    """Measure each rate on one broker and one pair of workers."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        with progress() as bar:
            task = bar.add_task("artifact", total=None)
            artifact = options.artifact or make_artifact(folder, 1, SIZE)
            bar.update(task, description="bench freshness", total=len(options.rates))
            with deployment(options.broker, artifact, folder) as (settings, broker, workers), running(workers):
                item_ids = [item.item_id for item in catalogue_of(artifact)]
                asyncio.run(prefill(settings, item_ids, options.n_users, WINDOW))
                asyncio.run(catch_up(settings))
                rows = []
                for seed, rate in enumerate(options.rates, 1):
                    load = Task(item_ids, options.n_users, rate, WARM_UP_S, options.seconds, seed)
                    rows.append(_measured(load, settings, workers, broker))
                    say(_line(rows[-1]))
                    bar.advance(task)
    return {
        "rates": rows,
        "highest_rate_below_limit": highest_below(rows),
        "limit_ms": LIMIT_MS,
        "items": len(item_ids),
        "users": options.n_users,
        "seconds": options.seconds,
        "broker": f"{broker.engine} {broker.version}".strip(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _measured(load: Task, settings: Settings, workers: Sequence[Worker], broker: BrokerInfo) -> dict[str, Any]:
    """Return what one rate led to, once the workers have caught up again."""
    pids = {worker.name: worker.pid for worker in workers} | {"broker": broker.pid}
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    stages, batches = [stage_counts(worker) for worker in workers], _batches(workers)
    outcome = _run_load(load, settings)
    grown = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    times: dict[str, Any] = {}
    for worker, earlier in zip(workers, stages, strict=True):
        times |= stage_counts(worker).since(earlier).quantiles()
    n_batches, n_windows = (now - then for now, then in zip(_batches(workers), batches, strict=True))
    asyncio.run(catch_up(settings))
    return {
        "rate_per_s": load.rate_per_s,
        **msgspec.to_builtins(outcome),
        "windows_per_batch": round(n_windows / max(1, n_batches), 1),
        "stages_ms": times,
        "cores": {name: round(s / outcome.seconds, 2) for name, s in grown.items()}
        | {"load": round(outcome.cpu_s / outcome.seconds, 2)},
    }


def _run_load(load: Task, settings: Settings) -> Outcome:
    environment = os.environ | {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
    }
    limit_s = load.warm_up_s + load.seconds + 60.0
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.live.load"],
        input=msgspec.json.encode(load), env=environment, capture_output=True, timeout=limit_s, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RunError(f"the load ended with code {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Outcome)


def _batches(workers: Sequence[Worker]) -> tuple[int, int]:
    """Return the forward passes of the model, and the windows in them, since the workers began."""
    values = [worker.counts()["values"] for worker in workers]
    return sum(v.get("model_batches", 0) for v in values), sum(v.get("model_windows", 0) for v in values)


def highest_below(rows: Sequence[dict[str, Any]]) -> float | None:
    """Return the highest rate up to which every rate keeps the limit; None where none does."""
    highest = None
    for row in rows:
        p99 = row["events"]["p99"]
        if p99 is None or p99 >= LIMIT_MS or row["unanswered"]:
            break
        highest = row["rate_per_s"]
    return highest


def _line(row: dict[str, Any]) -> str:
    events = row["events"]
    return (
        f"  {row['rate_per_s']:g} events/s: p50 {events['p50']}, p99 {events['p99']} ms, {row['lists_per_s']:g} lists/s"
    )


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [f"{'events/s':>9} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'lists/s':>8} {'a batch':>8}  cores"]
    for row in result["rates"]:
        events = row["events"]
        cores = ", ".join(f"{name} {n:.2f}" for name, n in row["cores"].items())
        shown = "".join(f" {events[name] if events[name] is not None else '-':>8}" for name in ("p50", "p90", "p99"))
        lines.append(f"{row['rate_per_s']:>9g}{shown} {row['lists_per_s']:>8g} {row['windows_per_batch']:>8g}  {cores}")
    names = [*SEQUENCER_STAGES, *RECOMMENDER_STAGES]
    for percent in ("p50", "p99"):
        lines.append(f"{percent + ' ms':>9}" + "".join(f" {name:>11}" for name in names))
        for row in result["rates"]:
            times = [row["stages_ms"].get(name, {}).get(percent) for name in names]
            lines.append(f"{row['rate_per_s']:>9g}" + "".join(f" {'-' if t is None else t:>11}" for t in times))
    lines.append(
        f"highest rate with p99 below {result['limit_ms']:g} ms: {result['highest_rate_below_limit'] or 'none'}"
    )
    lines.append(
        f"{result['items']} items, {result['users']} users, {result['seconds']:g} s a rate; "
        f"{result['machine']}; {result['broker']}; {result['date']}"
    )
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
