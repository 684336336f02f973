"""The Kafka Streams peer: built with Maven from our own source, run by the machine's Java.

The topology in ``kafka_streams/`` does the sequencer's job: it decodes and checks msgpack events,
keeps each user's window by the same rules and writes the same bytes, sends rejects with their
reason to a topic, and counts. Its store lies in memory, with Kafka Streams' cache and changelog; it
commits every 100 ms, because readers of the windows wait for them.

It does not read JSON events, replays (``run``, ``seq``) or types that hide their item or do not
enter; it does not check that a key lies on its partition, mend damaged windows, or fence a paused
owner.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from streams.settings.load import Settings

PROJECT: Final = Path(__file__).with_name("kafka_streams") / "pom.xml"
MAIN_CLASS: Final = "headrace.Peer"
APPLICATION: Final = "streams"
#: Kafka Streams' topic of the windows, without the prefix.
CHANGELOG: Final = f"{APPLICATION}-windows-changelog"
BUILD_LIMIT_S: Final = 240
COMMIT_MS: Final = 100
#: One core has no use for parallel collection. A fixed heap leaves nothing to grow.
JVM_OPTIONS: Final = ("-Xms1g", "-Xmx1g", "-XX:+UseSerialGC", "-XX:-UsePerfData")


class PeerUnavailableError(Exception):
    """Kafka Streams cannot be built here; the text says why."""


def build(folder: Path) -> Path:
    """Compile the peer and fetch its jars into ``folder``; return that.

    Raises
    ------
    PeerUnavailableError
        Where Maven or a Java compiler is missing, or the build fails, for instance because Maven
        Central cannot be reached.
    """
    missing = [name for name in ("mvn", "javac", "java") if shutil.which(name) is None]
    if missing:
        raise PeerUnavailableError(f"{', '.join(missing)} not found; install Maven and a JDK of version 17 or later")
    command = ["mvn", "-q", "-B", "-f", str(PROJECT), f"-Dbuild.folder={folder}", "compile"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise PeerUnavailableError(f"Maven was not done after {BUILD_LIMIT_S} s") from None
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")] or ["no output"]
        raise PeerUnavailableError(f"Maven ended with {done.returncode}: {lines[0][:300]}")
    return folder


def java_version() -> str:
    """Return the first line of ``java -version``."""
    done = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    return (done.stderr or done.stdout).splitlines()[0]


def become(settings: Settings, built: Path, n_events: int, n_warm: int) -> None:
    """Replace this process by the peer; it keeps the process's cores."""
    kafka = settings.kafka
    os.execvp(
        "java",
        [
            "java", *JVM_OPTIONS, "-cp", f"{built / 'classes'}:{built / 'jars'}/*", MAIN_CLASS,
            kafka.broker, kafka.topic("events"), kafka.topic("events.rejected"), kafka.topic(APPLICATION),
            settings.sequencer.data_dir, str(n_events), str(n_warm), str(COMMIT_MS),
        ],
    )  # fmt: skip
