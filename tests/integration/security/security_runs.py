"""What tests of TLS, SASL and ACLs share: clients and workers of a user of the secured broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.settings.load import KafkaSettings, load_settings
from tests.support import tiny
from tests.support.security.certificates import OPENSSL
from tests.support.security.secured_broker import SecuredBroker
from tools.broker import engine_kafka
from tools.workers.apps import AppName
from tools.workers.ports import free_port
from tools.workers.process import Worker

PREFIX = "shop-"
WAIT_S = 90.0
#: A refusal comes from the first connection, not from a client's retries.
PROMPT_S = 20.0
MARKS = [
    pytest.mark.kafka,
    pytest.mark.skipif(
        OPENSSL is None or engine_kafka.problem() is not None, reason="needs the openssl program and the engine kafka"
    ),
]


def kafka_of(variables: dict[str, str]) -> KafkaSettings:
    """Return the settings of a client's variables."""
    return load_settings(variables | {"HEADRACE_TOPIC_PREFIX": PREFIX}).kafka


class Become:
    """Sets a user's variables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broker: SecuredBroker) -> None:
        self.monkeypatch, self.broker = monkeypatch, broker

    def __call__(self, user: str, **more: str) -> dict[str, str]:
        variables = self.broker.variables(user) | {"HEADRACE_TOPIC_PREFIX": PREFIX} | more
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)
        return variables


def worker(name: AppName, variables: dict[str, str], folder: Path) -> Worker:
    """Return a worker, not started."""
    more = {
        "HEADRACE_TOPIC_PREFIX": PREFIX,
        "HEADRACE_ARTIFACT": str(tiny.artifact()) if name == "recommender" else "none",
        "HEADRACE_DATA_DIR": str(folder / "data"),
        "HEADRACE_ENCODER_CACHE_DIR": str(folder / "texts"),
    }
    return Worker(name, variables | more, free_port(), folder / f"{name}.log")
