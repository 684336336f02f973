"""``headrace doctor``: checks the installation, the broker, the topics, artifact and device.

Every check runs, also after a failure. Each failure says what to do.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka import codec
from packaging.utils import canonicalize_name

from streams.errors import BrokerError, HeadraceError, SettingsError
from streams.settings.load import KafkaSettings, RecommenderSettings, Settings, load_settings
from tools.broker.choice import names_broker
from tools.broker.local_broker import broker_status
from tools.broker.probe import check_broker, run_async
from tools.cli import emit
from tools.project.packages import LOCK_FILE, direct_dependencies, locked_versions

if TYPE_CHECKING:
    from models.artifact.artifact import Artifact

ResultT = TypeVar("ResultT")
OLDEST_PYTHON = (3, 11)
#: How long a schema registry may take to answer, in seconds.
REGISTRY_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Check:
    """The outcome of one check; ``remedy`` is empty where there is nothing to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--artifact", metavar="DIR", help="artifact to check (or HEADRACE_ARTIFACT)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="device to check (default: auto)")


def run(args: argparse.Namespace) -> int:
    """Run every check; return 1 if any failed."""
    settings = load_settings(broker=args.broker, artifact=args.artifact, device=args.device)
    if not names_broker(args.broker):
        local = broker_status()
        if local is not None:
            settings = load_settings(broker=local.bootstrap, artifact=args.artifact, device=args.device)
    checks = list(all_checks(settings))
    ok = all(check.ok for check in checks)
    emit(args, {"ok": ok, "checks": [asdict(check) for check in checks]}, map(as_line, checks))
    return 0 if ok else 1


def all_checks(settings: Settings) -> Iterator[Check]:
    """Yield the outcome of every check, in the order in which a person would repair things."""
    yield check_python(sys.version_info[:3])
    yield check_packages()
    yield check_codecs()
    broker = check_reachable(settings.kafka)
    yield broker
    yield from check_topics(_counted(settings).kafka) if broker.ok else [_unchecked_topics()]
    yield from check_formats(settings.kafka)
    yield from check_model(settings.recommender)


def _counted(settings: Settings) -> Settings:
    """Return the settings with the partition count of the topics that exist.

    Where the broker refuses the question, the next check reports it.
    """
    from streams.kafka.deployment import with_existing_partitions

    try:
        return run_async(with_existing_partitions(settings))
    except HeadraceError:
        return settings


def as_line(check: Check) -> str:
    """Return a check as one line for people."""
    remedy = f"; {check.remedy}" if check.remedy else ""
    return f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}{remedy}"


def check_python(version: tuple[int, ...]) -> Check:
    """Check that this Python is new enough."""
    ok = version >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    remedy = "" if ok else f"install Python {oldest} or newer, then run make setup"
    return Check("python", ok, f"{'.'.join(map(str, version))}, needs {oldest} or newer", remedy)


def check_packages() -> Check:
    """Check that every direct dependency has the version that the lock file pins."""
    pins = locked_versions(LOCK_FILE)
    wrong = []
    names = direct_dependencies()
    for name in names:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        expected = pins.get(canonicalize_name(name), found)
        if found != expected or found == "missing":
            wrong.append(f"{name} is {found}, must be {pins.get(canonicalize_name(name), 'installed')}")
    if wrong:
        return Check("packages", False, "; ".join(wrong), "run make setup")
    against = LOCK_FILE.name if pins else "the project's own list (there is no lock file here)"
    return Check("packages", True, f"{len(names)} direct packages, as in {against}")


def check_codecs() -> Check:
    """Check that this installation reads batches of every codec of Kafka.

    A producer, or a topic's ``compression.type``, chooses the codec.
    """
    found = {"gzip": codec.has_gzip(), "snappy": codec.has_snappy(), "lz4": codec.has_lz4(), "zstd": codec.has_zstd()}
    missing = [name for name, is_there in found.items() if not is_there]
    if missing:
        detail = f"batches in {', '.join(missing)} cannot be read: the package cramjam is missing or does not load"
        return Check("codecs", False, detail, "run make setup, or pip install cramjam")
    return Check("codecs", True, f"none, {', '.join(found)}")


def check_reachable(kafka: KafkaSettings) -> Check:
    """Check that the broker answers."""
    try:
        n_nodes = check_broker(kafka.broker, kafka.client_arguments())
    except (BrokerError, SettingsError) as exc:
        detail, _, remedy = str(exc).rpartition("; ")
        return Check("broker", False, detail, remedy)
    return Check("broker", True, f"{kafka.broker} answers, {n_nodes} node{'s' if n_nodes > 1 else ''}")


def check_topics(kafka: KafkaSettings) -> Iterator[Check]:
    """Compare the topics with the contract.

    All missing topics are one failure; each other difference is one.
    """
    from streams.kafka.topic_specs import TOPICS
    from streams.kafka.topics import compare

    try:
        differences = run_async(compare(kafka))
    except HeadraceError as exc:
        yield Check("topics", False, str(exc), "see the broker's log")
        return
    missing = [d for d in differences if d.setting == "exists"]
    if missing:
        yield Check("topics", False, f"missing: {', '.join(d.topic for d in missing)}", missing[0].remedy)
    for d in differences:
        if d.setting != "exists":
            yield Check("topics", False, f"{d.topic}: {d.setting} is {d.found}, must be {d.expected}", d.remedy)
    if not differences:
        yield Check("topics", True, f"{len(TOPICS)} topics, as the contract says")


def check_formats(kafka: KafkaSettings) -> Iterator[Check]:
    """Check the mapping and the schema registry of each topic that another system fills."""
    from streams.formats.decoders import HEADRACE, open_event_decoder, open_item_decoder, open_registry

    for topic, opened in (
        ("events", lambda: open_event_decoder(kafka, 0)),
        ("items", lambda: open_item_decoder(kafka)),
    ):
        name = getattr(kafka, f"{topic}_format")
        if name == HEADRACE:
            continue
        try:
            opened()
            registry = open_registry(kafka, topic, REGISTRY_PATIENCE_S)
            if registry is not None:
                registry.check()
        except HeadraceError as exc:
            yield Check(f"{topic}_format", False, str(exc), "see docs/data/presets.md")
        else:
            yield Check(
                f"{topic}_format",
                True,
                f"{name}, its mapping" + " and registry" * (registry is not None) + " can be used",
            )


def _unchecked_topics() -> Check:
    return Check("topics", False, "not checked, because the broker does not answer", "repair the broker first")


def check_model(settings: RecommenderSettings) -> Iterator[Check]:
    """Load the model by the steps of a recommender, and say what the recommender would say.

    A device that is missing does not hide other faults: the artifact is then loaded on the CPU. The
    default artifact need not exist.
    """
    from streams.recommender.model.artifact_encoder import usable_device

    found = _outcome("device", usable_device, settings.device)
    device = "cpu" if isinstance(found, Check) else found
    is_named = settings.artifact != RecommenderSettings().artifact
    check, artifact = check_artifact(
        Path(settings.artifact), must_exist=is_named, device=device, roots=settings.roots()
    )
    yield check
    if artifact is not None:
        yield check_encoder(artifact, device, settings)
    yield check_device(settings.device)


def check_artifact(
    path: Path, *, must_exist: bool, device: str = "cpu", roots: Sequence[Path] = ()
) -> tuple[Check, Artifact | None]:
    """Check that the artifact loads: manifest, checksums, shapes, values; return it if it does."""
    from streams.recommender.model.artifact_encoder import usable_artifact

    if not must_exist and not path.exists():
        remedy = "make one with headrace train LOG --out DIR, or name one with --artifact"
        return Check("artifact", True, f"there is no artifact at {path}", remedy), None
    artifact = _outcome("artifact", usable_artifact, path, device, roots)
    if isinstance(artifact, Check):
        return artifact, None
    return Check("artifact", True, f"{path} loads"), artifact


def check_encoder(artifact: Artifact, device: str, settings: RecommenderSettings) -> Check:
    """Check the artifact's text model: it is allowed, opens, and is the one of the training.

    The cleaning of texts must be that of the training, too. An artifact of ids alone needs neither.
    """
    from streams.recommender.model.artifact_encoder import ArtifactEncoder

    encoder = _outcome("encoder", ArtifactEncoder.of, artifact, device, settings)
    if isinstance(encoder, Check):
        return encoder
    if encoder is None:
        return Check("encoder", True, "none: the artifact knows items by their ids alone")
    return Check("encoder", True, f"version {encoder.version}, as the artifact's")


def check_device(device: str) -> Check:
    """Check that the model's device is there and computes."""
    import torch

    from streams.recommender.model.artifact_encoder import usable_device

    found = _outcome("device", usable_device, device)
    if isinstance(found, Check):
        return found
    more = torch.cuda.get_device_name() if found == "cuda" else f"{torch.get_num_threads()} threads"
    return Check("device", True, f"{device}: {found}, {more}")


def _outcome(name: str, step: Callable[..., ResultT], *args: Any) -> ResultT | Check:
    """Return what a step of loading gives, or its refusal as a failed check."""
    try:
        return step(*args)
    except HeadraceError as exc:
        detail, _, remedy = str(exc).rpartition("; ")
        return Check(name, False, detail, remedy)
