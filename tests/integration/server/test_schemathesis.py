"""Schemathesis asks every route of the OpenAPI document what it may and may not expect.

``HEADRACE_TEST_FUZZ_S`` says for how many seconds; docs/testing.md has the command of five minutes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from streams.kafka.topics import create_topics
from streams.server.app import SCHEMA_PATH
from streams.server.gate.key_file import add_key
from streams.settings.load import Settings
from tests.integration.server.test_serve import push, serving
from tests.support import tiny

pytestmark = pytest.mark.model

FUZZ_S: Final = int(os.environ.get("HEADRACE_TEST_FUZZ_S", "12"))
#: What a shop's engineer relies on: no failure of the server, no answer without the key that it
#: needs, and no answer that the document does not tell of.
CHECKS: Final = "not_a_server_error,ignored_auth,content_type_conformance,response_schema_conformance"
#: Its answer ends with the connection.
ENDLESS: Final = "streamRecommendations"


def fuzz(url: str, *more: str) -> str:
    """Run Schemathesis against a server; a failure of the test has what it said."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}{SCHEMA_PATH}", "--checks", CHECKS,
        "--phases", "examples,coverage,fuzzing", "--max-time", str(FUZZ_S), "--seed", "1", "--no-shrink",
        "--request-timeout", "10", "--exclude-operation-id", ENDLESS, "--warnings", "off",
        "--suppress-health-check", "all", *more,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * FUZZ_S + 120, check=False)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    return done.stdout


@pytest.mark.usefixtures("catalogue")
def test_no_question_makes_a_server_fail_or_answers_without_a_key(settings: Settings, tmp_path: Path) -> None:
    """With every scope, and with none; a server that ranks, so that no route is switched off."""
    asyncio.run(create_topics(settings.kafka))
    push(settings, "u", 1, "ab")
    file = tmp_path / "keys.json"
    key = add_key(file, "shop", ["read", "write", "admin"])
    variables = {
        "HEADRACE_SERVE_RANKING": "on",
        "HEADRACE_ARTIFACT": str(tiny.artifact()),
        "HEADRACE_ENCODER_CACHE_DIR": str(tmp_path / "texts"),
        "HEADRACE_SERVE_KEYS_FILE": str(file),
        "HEADRACE_SERVE_RATE_LIMIT": "100000",
    }
    with serving(settings, tmp_path, **variables) as server:
        assert server.ask(SCHEMA_PATH, **{"X-API-Key": key})[0] == 200
        assert server.ask(SCHEMA_PATH)[0] == 401
        assert server.url is not None
        said = fuzz(server.url, "-H", f"X-API-Key: {key}", "--report-dir", str(tmp_path / "report"))
        assert "No issues found" in said or "passed" in said, said
        assert server.process.poll() is None and server.ask("/healthz")[0] == 200
