"""``headrace up``: a broker if none is named, the topics, and both workers, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from streams.errors import HeadraceError, InputError
from streams.kafka.deployment import load_deployment
from streams.kafka.topics import create_topics
from streams.settings.load import RecommenderSettings, Settings, load_settings
from tools.broker.choice import names_broker, on_bar
from tools.broker.local_broker import running_broker
from tools.broker.probe import check_broker
from tools.cli import emit, progress, say
from tools.workers.apps import APP_NAMES, APPS
from tools.workers.launch import Launch, make_worker
from tools.workers.process import POLL_S, Worker
from tools.workers.supervisor import READY_S, Supervisor, stop_all
from tools.workers.worker_logs import new_log

STOP_MARGIN_S: Final = 3.0  # above the limit at which a worker ends itself
INTERRUPTED: Final = 130
MAX_PORT: Final = 65_535
#: The topics without which the two workers cannot run.
WORKER_TOPICS: Final = tuple(topic for app in APPS for topic in app.topics)
STATE_DIR: Final = Path(".headrace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="the model artifact (or HEADRACE_ARTIFACT)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="workers of each app (default: %(default)s)"
    )
    parser.add_argument(
        "--web-port",
        type=int,
        metavar="N",
        help="port of the first worker's pages; the next workers get the next ports, sequencers first (default: free ports)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    settings = load_settings(broker=args.broker, artifact=None if args.artifact is None else str(args.artifact))
    if args.workers < 1 or "partitions" in settings.given:
        check_workers(args.workers, settings)
    check_ports(args.web_port, len(APPS) * args.workers)
    if not Path(settings.recommender.artifact).is_dir():
        raise InputError(
            f"--artifact {settings.recommender.artifact}: no such directory; make one with headrace train, or run headrace demo"
        )
    named = settings.kafka.broker if names_broker(args.broker) else None
    if named is not None:
        check_broker(named, settings.kafka.client_arguments())
    _check_model(settings.recommender)
    with _terminate_as_interrupt(), progress() as bar:
        client = None if named is None else settings.kafka.security_arguments()
        with running_broker(named, client=client, progress=on_bar(bar)) as broker:
            bar.stop()
            for note in broker.notes:
                say(note, style="dim")
            if broker.engine == "noida" and args.workers > 1:
                raise InputError(
                    f"--workers {args.workers}: noida carries one worker only; use --workers 1, or another broker"
                )
            running = load_deployment(broker=broker.bootstrap, artifact=settings.recommender.artifact)
            check_workers(args.workers, running)
            asyncio.run(create_topics(running.kafka, WORKER_TOPICS))
            workers = build_workers(running, args.workers, first_port=args.web_port)
            return _supervise(args, workers, running.health.stop_timeout_s + STOP_MARGIN_S)


def _check_model(settings: RecommenderSettings) -> None:
    """Raise :class:`HeadraceError` where the recommender could not serve its model.

    The check comes before a broker starts.

    The check loads the model in a process of its own, because this one stays, without need of it.
    """
    say(f"checking the model in {settings.artifact}", style="dim")
    quiet = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quiet) as pool:
        try:
            pool.submit(_load_model, settings).result()
        except BrokenProcessPool:
            raise HeadraceError(
                f"--artifact {settings.artifact}: the process that loaded it was killed; is there memory for it?"
            ) from None


def _load_model(settings: RecommenderSettings) -> None:
    from streams.recommender.model.artifact_encoder import check_model

    check_model(settings)


def check_ports(first: int | None, n_workers: int) -> None:
    """Raise :class:`InputError` where a worker would get a port that does not exist."""
    last_first = MAX_PORT + 1 - n_workers
    if first is not None and not 1 <= first <= last_first:
        raise InputError(f"--web-port {first}: must be 1 to {last_first}; each worker has a port of its own")


def check_workers(n_workers: int, settings: Settings) -> None:
    """Raise :class:`InputError` for less than one worker, or more workers than partitions."""
    if not 1 <= n_workers <= settings.kafka.partitions:
        raise InputError(
            f"--workers {n_workers}: must be 1 to {settings.kafka.partitions}, the number of partitions; more would idle"
        )


def build_workers(
    settings: Settings, n_workers: int, state_dir: Path = STATE_DIR, first_port: int | None = None
) -> list[Worker]:
    """Return ``n_workers`` of each app, not started, each with a port and a directory of its own.

    The ports are ``first_port`` and the next ones, or free ones.
    """
    workers: list[Worker] = []
    for name in APP_NAMES:
        for label in (f"{name}-{i}" for i in range(n_workers)):
            port = None if first_port is None else first_port + len(workers)
            launch = Launch(name, state_dir / label, new_log(state_dir / "logs", label), port)
            workers.append(make_worker(Worker, settings, launch))
    return workers


def _supervise(args: argparse.Namespace, workers: list[Worker], stop_timeout_s: float) -> int:
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_ready(READY_S)
            say(f"{worker.name} ready, pid {worker.pid}: {worker.page_url('/counts')}")
            say(f"  its log: {worker.log_path}", style="dim")
        say("running; Ctrl-C stops", style="green")
        supervisor = Supervisor(workers)
        while True:
            for line in supervisor.check(time.monotonic()):
                say(line, style="yellow")
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        say("stopping")
        return INTERRUPTED
    finally:
        stop_all(workers, stop_timeout_s)
        emit(
            args,
            {
                "workers": [
                    {"name": worker.name, "exit": worker.returncode, "log": str(worker.log_path)} for worker in workers
                ]
            },
        )


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Take SIGTERM, which a supervisor sends, as Ctrl-C, so that it stops the workers too."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
