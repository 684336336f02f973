"""Runs ``headrace replay`` for a drill: against the drill's topics, with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any, Final

from streams.errors import RunError
from tools.drills.session import Drill, variables_of
from tools.replay.rebuild.run_workers import run_variables

#: Longest time of one command, in seconds.
COMMAND_LIMIT_S: Final = 3_600.0


async def start_command(drill: Drill, *argv: str) -> asyncio.subprocess.Process:
    """Start ``headrace replay`` against the drill's topics."""
    settings = drill.settings
    env = os.environ | run_variables(settings) | variables_of(settings, drill.plan)
    env |= {"HEADRACE_DATA_DIR": str(drill.folder / "replay"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tools.main", "replay", *argv, "--state-dir", str(drill.folder / "runs"), "--json"]
    return await asyncio.create_subprocess_exec(
        *command, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )  # fmt: skip


async def command(drill: Drill, *argv: str, may_end_with: int = 0) -> dict[str, Any]:
    """Run ``headrace replay`` to its end and return its JSON; an empty object where it prints none.

    Parameters
    ----------
    may_end_with : exit code beside 0 that is no failure

    Raises
    ------
    RunError
        When the command fails, or takes longer than :data:`COMMAND_LIMIT_S`.
    """
    process = await start_command(drill, *argv)
    try:
        out, err = await asyncio.wait_for(process.communicate(), COMMAND_LIMIT_S)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    lines = out.decode().splitlines()
    if process.returncode not in (0, may_end_with):
        last = (err.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise RunError(f"headrace replay {' '.join(argv)}: exit code {process.returncode}: {last}")
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found
