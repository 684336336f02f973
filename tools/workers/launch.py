"""Makes workers that are ready to start, for ``headrace up``, the demo, rebuilds and drills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from streams.settings.check import PREFIX
from streams.settings.load import Settings
from tools.workers.apps import AppName
from tools.workers.ports import free_port
from tools.workers.process import Worker

W = TypeVar("W", bound=Worker)


@dataclass(frozen=True)
class Launch:
    """What one worker needs of its own.

    Parameters
    ----------
    app : which app
    folder : directory of its state; no two workers share one
    log : file to which its output is appended
    port : port of its pages; None for a free port
    module : what ``faust -A`` loads instead of the app's own module; empty for the app's own
    variables : environment variables, beside those of the deployment
    """

    app: AppName
    folder: Path
    log: Path
    port: int | None = None
    module: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


def make_worker(kind: type[W], settings: Settings, launch: Launch) -> W:
    """Return a worker of a deployment, not started.

    Parameters
    ----------
    kind : the class of the worker
    settings : name the worker's broker, topics and artifact
    """
    variables = deployment_variables(settings) | {"HEADRACE_DATA_DIR": str(launch.folder)} | dict(launch.variables)
    port = free_port() if launch.port is None else launch.port
    return kind(launch.app, variables, port, launch.log, launch.module)


def deployment_variables(settings: Settings) -> dict[str, str]:
    """Return the variables of a worker's process.

    They name its broker, its topics, its event types and its artifact.

    A topic that the settings do not name in full gets an empty variable. A process of a drill or of
    a rebuild inherits the variables of the live deployment, and would write to the live topic
    otherwise.
    """
    names = {f"{PREFIX}{setting.upper()}": name for setting, name in settings.kafka.topic_names().items()}
    return names | {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_EVENT_TYPES": settings.sequencer.event_types,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_ARTIFACT": settings.recommender.artifact,
    }
