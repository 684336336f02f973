"""Runs a demo on a local broker, or on one that a person named, and draws up its figures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams.settings.event_table import DEFAULT_TABLE
from streams.settings.load import load_settings
from tools.broker.local_broker import running_broker
from tools.broker.probe import check_broker
from tools.cli import say
from tools.demo.movielens import DemoLog, movielens_100k
from tools.demo.report import report_of
from tools.demo.steps import Outcome, Split, run_steps, split_by_time
from tools.files.entries.sources import CatalogueSource
from tools.files.file_options import FileOptions
from tools.files.formats.named_files import check_exist
from tools.reports.outputs import check_writable

DIRECTORY: Final = Path(".headrace")
#: What the broker's log, the workers' states and the artifact take.
ROOM: Final = 512 << 20


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    log : a log and its catalogue; None for MovieLens-100K
    broker : address of a broker; None for a local one
    engine : engine of the local broker, as for ``headrace broker``
    seed : seed of the training
    encoder : language model, as for ``headrace train``; None for the default of that command
    """

    log: DemoLog | None = None
    broker: str | None = None
    engine: str = "auto"
    seed: int = 1
    encoder: str | None = None


@dataclass(frozen=True)
class Demo:
    """A finished demo: the log that it used, the cut of the log, what came out, and the figures."""

    log: DemoLog
    split: Split
    outcome: Outcome
    report: dict[str, Any]


def check_demo(options: Options) -> None:
    """Check what the demo will need, before it fetches, starts and trains.

    Raises
    ------
    InputError
        When a file is missing, the catalogue lacks a column, the encoder cannot be opened, or this
        folder cannot be written.
    BrokerError
        When the named broker does not answer.
    """
    if options.log is not None:
        check_exist([options.log.events, options.log.items])
        CatalogueSource((options.log.items,), FileOptions(options.log.item_columns)).read()
    check_writable("the demo's folder", DIRECTORY, ROOM)
    if options.encoder:
        from models.text.encoder_files import Access
        from streams.recommender.model.artifact_encoder import open_encoder

        access = Access(may_download=load_settings().recommender.encoder_download == "on")
        open_encoder(options.encoder, "cpu", access)
    if options.broker:
        kafka = load_settings(broker=options.broker).kafka
        check_broker(kafka.broker, kafka.client_arguments())


def run_demo(options: Options) -> Demo:
    """Train on the first part of a log, replay the rest through both apps, and score the lists.

    Raises
    ------
    RunError
        When MovieLens-100K cannot be fetched, a step fails, or the apps are not done in time.
    """
    started = time.monotonic()
    check_demo(options)
    log = movielens_100k() if options.log is None else options.log
    split = split_by_time(log)
    say(f"log: {len(split.history) + len(split.replayed):,} events; training on the first {len(split.history):,}")
    with running_broker(options.broker, engine=options.engine, data_dir=DIRECTORY / "broker") as broker:
        for note in broker.notes:
            say(f"broker: {note}")
        say(f"broker: {broker.engine} {broker.version} at {broker.bootstrap}")
        prefix = f"demo{int(time.time())}."
        artifact = DIRECTORY / "demo" / prefix / "artifact"
        settings = load_settings(
            broker=broker.bootstrap, topic_prefix=prefix, artifact=str(artifact), event_types=DEFAULT_TABLE
        )
        encoder = ["--encoder", options.encoder] if options.encoder else []
        outcome = run_steps(settings, log, split, ["--seed", str(options.seed), *encoder])
        report = report_of(split, outcome)
    report |= {"engine": broker.engine, "engine_version": broker.version, "seconds": time.monotonic() - started}
    return Demo(log, split, outcome, report)
