"""The jars of the local Apache Kafka: fetched once, checked by hash at each start.

``kafka_jars.txt`` pins every jar of Maven Central by version and SHA-256, as the lock file pins the
Python packages. So a start resolves no dependencies and runs only jars that were tested. The class
path is made of that list alone, whatever else lies in the cache, and no pinned jar names further
jars in its manifest. For a new version, ``python -m tools.broker.kafka_jars`` resolves the
dependencies and prints the lines of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from streams.errors import BrokerError
from tools.broker.state import exclusive

KAFKA_VERSION = "4.1.2"
ROOTS = (
    (f"org.apache.kafka:kafka_2.13:jar:{KAFKA_VERSION}:compile", True),
    # only Kafka's full archive has this jar
    ("org.apache.logging.log4j:log4j-slf4j-impl:jar:2.25.5:compile", False),
)
#: Newer versions than this Kafka asks for, because the older ones have advisories; Kafka 4.4 asks
#: for these lines. Behind an advisory stands the first release without it.
NEWER = {
    # CVE-2025-12183, CVE-2025-66566: 1.10.1
    "at.yawk.lz4:lz4-java": "1.11.2",
    "com.fasterxml.jackson.core:jackson-annotations": "2.21",
    "com.fasterxml.jackson.core:jackson-core": "2.21.8",
    # CVE-2026-54515: 2.21.5; CVE-2026-68497: 2.21.6
    "com.fasterxml.jackson.core:jackson-databind": "2.21.8",
    "com.fasterxml.jackson.dataformat:jackson-dataformat-csv": "2.21.8",
    "com.fasterxml.jackson.dataformat:jackson-dataformat-yaml": "2.21.8",
    "com.fasterxml.jackson.datatype:jackson-datatype-jdk8": "2.21.8",
    "org.apache.logging.log4j:log4j-api": "2.25.5",
    # CVE-2025-68161: 2.25.3; CVE-2026-34477: 2.25.4
    "org.apache.logging.log4j:log4j-core": "2.25.5",
    "org.yaml:snakeyaml": "2.5",
}
PINS = Path(__file__).with_name("kafka_jars.txt")
FETCHERS = 8  # parallel downloads; 46 small files wait on round trips, not on bandwidth
FETCH_TIMEOUT_S = 20
REMEDY = (
    "check that the machine reaches Maven Central and run it again, or use --engine docker, --engine noida or --broker"
)

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


def cache_dir() -> Path:
    """Return the folder of the jars, under ``XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "headrace" / f"kafka-{KAFKA_VERSION}"


def pins() -> list[tuple[str, str]]:
    """Return ``(group:artifact:version, sha256)`` of every jar that Kafka needs."""
    lines = PINS.read_text(encoding="utf-8").splitlines()
    return [(a, b) for a, b in (line.split() for line in lines if line and not line.startswith("#"))]


def classpath(progress: Progress | None = None) -> list[Path]:
    """Return the jars of Kafka in the order of the pins; fetch those that are missing or damaged.

    The check of the hashes reads 43 MB, which takes a tenth of a second.

    Raises
    ------
    BrokerError : Maven Central cannot be reached, or sends a jar with another hash
    """
    folder = cache_dir()
    jars = _all_good(folder)
    if jars is None:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / "lock", what="another fetch of Kafka's jars"):
            jars = _all_good(folder) or _fetch_all(folder, progress)
    return jars


def _place(folder: Path, name: str) -> Path:
    """Return the path of a pinned jar."""
    _, artifact, version = name.split(":")
    return folder / "jars" / f"{artifact}-{version}.jar"


def _all_good(folder: Path) -> list[Path] | None:
    """Return the paths of all pinned jars, or ``None`` where one is missing or damaged."""
    jars = [(_place(folder, name), digest) for name, digest in pins()]
    return [path for path, _ in jars] if all(_good(path, digest) for path, digest in jars) else None


def _fetch_all(folder: Path, progress: Progress | None) -> list[Path]:
    """Fetch the missing and damaged jars in parallel; return all paths in the order of the pins."""
    wanted = pins()
    paths: dict[str, Path] = {}
    with ThreadPoolExecutor(FETCHERS) as pool:
        jobs = {pool.submit(_fetch_one, folder, name, digest): name for name, digest in wanted}
        try:
            for job in as_completed(jobs):
                paths[jobs[job]] = job.result()
                if progress is not None:
                    progress(f"fetching Apache Kafka {KAFKA_VERSION}", len(paths), len(wanted))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [paths[name] for name, _ in wanted]


def _fetch_one(folder: Path, name: str, digest: str) -> Path:
    """Return the path of a jar with the pinned hash; try the download twice where there is none."""
    group, artifact, version = name.split(":")
    final = _place(folder, name)
    if _good(final, digest):
        return final
    problem = ""
    for _ in range(2):
        scratch = folder / "part" / f"{group}-{artifact}"
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            got = _context(scratch).create_dependency(f"{group}:{artifact}:jar:{version}:compile").artifact.resolve()
        except Exception as exc:  # noqa: BLE001 - requests, jgo and the file system each have their own
            problem = f"cannot be fetched ({_brief(exc)})"
            continue
        if _good(Path(got), digest):
            final.parent.mkdir(parents=True, exist_ok=True)
            Path(got).replace(final)
            shutil.rmtree(scratch, ignore_errors=True)
            return final
        problem = "came damaged: its SHA-256 is not the pinned one"
    raise BrokerError(f"engine kafka: {artifact}-{version}.jar {problem}, tried 2 times; {REMEDY}")


def _brief(exc: Exception) -> str:
    """Return an exception's kind, and its text where that is one short line."""
    text = str(exc).strip()
    return f"{type(exc).__name__}: {text}" if text and len(text) < 80 and "\n" not in text else type(exc).__name__


def _good(path: Path, digest: str) -> bool:
    """Return whether the file exists, is a readable archive and has the pinned hash."""
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return False
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _context(folder: Path) -> Any:
    """Return jgo's Maven context that keeps its files in ``folder`` and resolves in Python."""
    from jgo.maven import MavenContext, PythonResolver

    logging.getLogger("jgo").setLevel(logging.ERROR)
    return MavenContext(resolver=PythonResolver(), repo_cache=folder, timeout=FETCH_TIMEOUT_S)


def resolve_anew(folder: Path) -> Iterator[str]:
    """Yield the pins that Maven Central's metadata gives today for ``ROOTS``; use the network."""
    context = _context(folder)
    found: dict[str, str] = {}
    for root, transitive in ROOTS:
        direct, indirect = context.resolver.resolve([context.create_dependency(root)], transitive=transitive)
        for dependency in [*direct, *(d for d in indirect if d.scope in ("compile", "runtime"))]:
            name = f"{dependency.artifact.groupId}:{dependency.artifact.artifactId}"
            version = NEWER.get(name, dependency.artifact.version)
            jar = context.create_dependency(f"{name}:jar:{version}:compile").artifact.resolve()
            found[f"{name}:{version}"] = hashlib.sha256(jar.read_bytes()).hexdigest()
    yield from (f"{name} {found[name]}" for name in sorted(found))


if __name__ == "__main__":
    # not above: a Python without packages must be able to stop a broker
    from tools.cli import write_line

    with contextlib.suppress(KeyboardInterrupt):
        for line in resolve_anew(cache_dir() / "resolve"):
            write_line(line)
