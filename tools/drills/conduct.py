"""Gives a drill its folder, broker and artifact, runs it, and removes what it leaves behind.

::

    folder ─ broker ─ artifact ─ settings ─ drill ─ topics deleted ─ broker stopped ─ folder removed
                                                                     (a failure keeps its logs)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from streams.errors import HeadraceError, InputError
from streams.settings.event_table import DEFAULT_TABLE
from streams.settings.load import Settings, load_settings
from tools.broker.choice import on_bar
from tools.broker.local_broker import BrokerInfo, running_broker
from tools.broker.probe import check_broker
from tools.cli import progress, say
from tools.drills.artifact import make_artifact
from tools.drills.kind import Kind
from tools.drills.plan import Plan
from tools.drills.run import delete_topics, run_drill
from tools.drills.session import Drill
from tools.files.formats.named_files import check_exist
from tools.reports.outputs import check_writable

#: The folder of the drill's own broker. A drill never uses the local broker of another command,
#: because that broker ends with its command.
BROKER: Final = "broker"
#: What the broker's log, the workers' states and an artifact take.
ROOM: Final = 512 << 20


@dataclass(frozen=True)
class Stage:
    """What a person named for the drill to run on.

    Parameters
    ----------
    broker : address of a broker; None for one of the drill's own
    artifact : artifact of the recommenders; None for a small one that the drill makes
    keep : whether topics, logs and state stay when the drill ends
    """

    broker: str | None = None
    artifact: Path | None = None
    keep: bool = False


def conduct(kind: Kind, plan: Plan, stage: Stage) -> tuple[dict[str, Any], Path]:
    """Run a drill from nothing; return its report and the folder of its logs.

    The folder is removed unless the report has problems or ``stage.keep`` is set.

    Raises
    ------
    InputError
        When the named broker cannot be used, or has fewer partitions than the plan has workers.
    RunError
        When the drill could not be carried through.
    """
    check_stage(kind, plan, stage)
    folder = Path(tempfile.mkdtemp(prefix="headrace-drill-"))
    has_passed = False
    try:
        report = _on_broker(kind, plan, stage, folder)
        has_passed = not report["problems"]
    finally:
        if not stage.keep:
            shutil.rmtree(folder / BROKER, ignore_errors=True)
            if has_passed or not any(folder.glob("*.log")):
                shutil.rmtree(folder, ignore_errors=True)
    return report, folder


def check_stage(kind: Kind, plan: Plan, stage: Stage) -> None:
    """Check what the drill will need, before it starts a broker and trains.

    Raises
    ------
    InputError
        When the log is missing, the artifact cannot be loaded, or there is no room for the broker.
    HeadraceError
        When the artifact's encoder cannot be opened, or the named broker does not answer.
    """
    if plan.log is not None:
        check_exist([plan.log])
    check_writable("the folder for temporary files (TMPDIR)", Path(tempfile.gettempdir()), ROOM)
    if stage.artifact is not None:
        from streams.recommender.model.artifact_encoder import check_model

        check_model(load_settings(artifact=str(stage.artifact)).recommender)
    if stage.broker is not None and not plan.needs.own_broker:
        kafka = load_settings(broker=stage.broker).kafka
        check_broker(kafka.broker, kafka.client_arguments())


def _on_broker(kind: Kind, plan: Plan, stage: Stage, folder: Path) -> dict[str, Any]:
    prefix = f"drill-{plan.kind}-{uuid.uuid4().hex[:8]}."
    named = None if stage.broker is None else load_settings(broker=stage.broker, topic_prefix=prefix)
    with _broker(named, plan, folder) as broker:
        artifact = stage.artifact or make_artifact(folder, plan.seed)
        environ = os.environ | dict(plan.needs.variables)
        settings = load_settings(
            environ, broker=broker.bootstrap, topic_prefix=prefix, artifact=str(artifact), event_types=DEFAULT_TABLE
        )
        if plan.n_workers > settings.kafka.partitions:
            raise InputError(f"--workers {plan.n_workers}: must be 1 to {settings.kafka.partitions}, the partitions")
        drill = Drill(settings, plan, broker, folder, say)
        try:
            report = asyncio.run(_until_told_to_end(kind, drill, stage.keep))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    return report | {"broker": f"{broker.engine} {broker.version}".strip()}


@contextlib.contextmanager
def _broker(named: Settings | None, plan: Plan, folder: Path) -> Iterator[BrokerInfo]:
    """Give the named broker, or start one of the drill's own and stop it when the block ends."""
    if named is not None:
        if plan.needs.own_broker:
            raise InputError(
                f"{plan.kind}: kills its broker and starts one of its own for that; "
                "leave --broker and HEADRACE_BROKER out"
            )
        with running_broker(named.kafka.broker, client=named.kafka.security_arguments()) as broker:
            yield broker
        return
    engine = "kafka" if plan.needs.own_broker else "auto"
    with (
        progress() as bar,
        running_broker(engine=engine, port=0, data_dir=folder / BROKER, progress=on_bar(bar)) as broker,
    ):
        bar.stop()
        for note in broker.notes:
            say(f"broker: {note}")
        yield broker


async def _until_told_to_end(kind: Kind, drill: Drill, keep: bool) -> dict[str, Any]:
    """Run the drill. SIGTERM ends it in order, as Ctrl-C does.

    A script that starts the drill in the background has Ctrl-C ignored, but not SIGTERM.
    """
    loop, running = asyncio.get_running_loop(), asyncio.ensure_future(run_drill(kind, drill))
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        return await running
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        if not keep:
            await _clean_up(drill)


async def _clean_up(drill: Drill) -> None:
    """Delete the topics. A broker that does not answer must not hide why the drill ended."""
    try:
        await delete_topics(drill.settings.kafka)
    except (HeadraceError, KafkaError) as exc:
        say(f"topics {drill.settings.kafka.topic_prefix}* stay on {drill.broker.bootstrap}: {exc}")
