"""``headrace up`` with a named broker needs headrace alone, and no extra."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.settings.load import Settings
from tests.support import tiny
from tests.support.programs import HEADRACE
from tests.support.waiting import wait_until
from tests.support.without_extras import EXTRAS, TESTS_ALONE, hiding_path

READY_S = 120.0
ROOT = Path(__file__).parents[3]


pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("catalogue")]


def test_both_apps_start_without_the_extras(settings: Settings, tmp_path: Path) -> None:
    """The workers inherit the path that hides them."""
    hidden = hiding_path(tmp_path, *EXTRAS, *TESTS_ALONE)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
    environ |= {"PYTHONPATH": f"{hidden}{os.pathsep}{ROOT}", "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix}
    up = [*HEADRACE, "up", "--broker", settings.kafka.broker, "--artifact", str(tiny.artifact())]
    printed = tmp_path / "printed"
    with printed.open("w") as out:
        process = subprocess.Popen(up, cwd=tmp_path, env=environ, stdout=out, stderr=out)
    try:
        wait_until(lambda: "Ctrl-C stops" in printed.read_text(), READY_S, printed.read_text)
        for page in re.findall(r"http://\S+/counts", printed.read_text()):
            assert "headrace_lag" in families(page.replace("/counts", "/metrics"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    finally:
        process.kill()
    told = printed.read_text()
    assert told.count(" ready, pid ") == 2 and "Traceback" not in told


def families(page: str) -> set[str]:
    """Return the names of the metrics on a page, as Prometheus reads them."""
    with urllib.request.urlopen(page, timeout=10.0) as answer:
        return {family.name for family in text_string_to_metric_families(answer.read().decode())}
