"""The log of ``headrace serve`` as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from streams.settings.load import Settings
from tests.support.programs import HEADRACE
from tests.support.waiting import wait_until

READY_S = 60.0


@pytest.mark.kafka
@pytest.mark.usefixtures("catalogue")
def test_a_servers_log_is_json_by_the_setting(settings: Settings, tmp_path: Path) -> None:
    """Lines for people go beside it; every line of the log is an object with its level."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environ |= {"HEADRACE_LOG_FORMAT": "json", "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix}
    told = tmp_path / "told"
    with told.open("w") as out:
        command = [*HEADRACE, "serve", "--port", "0", "--broker", settings.kafka.broker]
        process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=out, stderr=out)
        try:
            wait_until(lambda: "ready" in told.read_text().splitlines(), READY_S, told.read_text)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    lines = told.read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert logged and all(each["level"] and each["message"] for each in logged)
    people = ("listening on ", "no keys", "ready", "stopped")
    assert [line for line in lines if not line.startswith(("{", *people))] == []
