"""Kafka's jars: only pinned hashes run, damaged jars are fetched, a whole set needs no network."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.version import Version

from streams.errors import BrokerError
from tools.broker import engine_docker, kafka_jars


def a_jar(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", text)
    return buffer.getvalue()


class FakeCentral:
    """Stands for jgo and Maven Central: serves the queued contents, then the good one."""

    def __init__(self, content: dict[str, bytes], queued: dict[str, list[bytes | Exception]]) -> None:
        self.content, self.queued, self.n_requests = content, queued, 0

    def context(self, folder: Path) -> SimpleNamespace:
        def create(coordinate: str) -> SimpleNamespace:
            name = coordinate.split(":")[1]
            return SimpleNamespace(artifact=SimpleNamespace(resolve=lambda: self._download(folder, name)))

        return SimpleNamespace(create_dependency=create)

    def _download(self, folder: Path, name: str) -> Path:
        self.n_requests += 1
        served = self.queued[name].pop(0) if self.queued.get(name) else self.content[name]
        if isinstance(served, Exception):
            raise served
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x.jar").write_bytes(served)
        return folder / "x.jar"


@pytest.fixture
def central(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCentral:
    """Give a Central with two jars, pinned, and an empty cache."""
    content = {"one": a_jar("1"), "two": a_jar("2")}
    (tmp_path / "pins.txt").write_text(
        "# a comment\n" + "".join(f"g:{name}:1 {hashlib.sha256(jar).hexdigest()}\n" for name, jar in content.items())
    )
    fake = FakeCentral(content, {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kafka_jars, "PINS", tmp_path / "pins.txt")
    monkeypatch.setattr(kafka_jars, "_context", fake.context)
    return fake


def test_a_complete_set_is_used_without_the_network(central: FakeCentral) -> None:
    seen: list[tuple[int, int]] = []
    first = kafka_jars.classpath(lambda _what, done, total: seen.append((done, total)))
    assert [jar.name for jar in first] == ["one-1.jar", "two-1.jar"]
    assert seen == [(1, 2), (2, 2)]
    central.queued = {"one": [OSError("no network")] * 9, "two": [OSError("no network")] * 9}
    assert kafka_jars.classpath() == first
    assert central.n_requests == 2


@pytest.mark.parametrize(
    "damage",
    [b"", b"<html>proxy</html>", a_jar("1")[:-30], a_jar("another"), OSError("reset")],
    ids=["empty", "a page", "cut off", "another jar", "no answer"],
)
def test_a_damaged_download_is_fetched_anew_once(central: FakeCentral, damage: bytes | Exception) -> None:
    central.queued = {"one": [damage]}
    assert all(jar.stat().st_size > 0 for jar in kafka_jars.classpath())
    assert central.n_requests == 3


def test_a_download_that_stays_damaged_ends_in_one_line_with_the_remedy(central: FakeCentral) -> None:
    central.queued = {"two": [a_jar("evil")] * 2}
    with pytest.raises(BrokerError, match=r"two-1\.jar came damaged.*tried 2 times; .*--engine noida") as caught:
        kafka_jars.classpath()
    assert "\n" not in str(caught.value)
    assert not list(kafka_jars.cache_dir().glob("jars/two*"))
    assert kafka_jars.classpath()  # a later run, with a good network, works


def test_no_network_names_the_remedy_and_no_address(central: FakeCentral) -> None:
    central.queued = {name: [ConnectionError("https://host/path" + "x" * 99)] * 2 for name in ("one", "two")}
    with pytest.raises(BrokerError, match="cannot be fetched .ConnectionError.*Maven Central") as caught:
        kafka_jars.classpath()
    assert "https" not in str(caught.value)


def flipped(content: bytes) -> bytes:
    """Return a content of the same size with one bit changed."""
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("harm", [None, lambda content: content[:10], flipped, lambda _: a_jar("evil")])
def test_a_jar_that_was_changed_since_is_noticed_at_the_next_start(
    central: FakeCentral, harm: Callable[[bytes], bytes] | None
) -> None:
    """The cache lies in a folder of the user, so each start checks the jars."""
    first, _ = kafka_jars.classpath()
    if harm is None:
        first.unlink()
    else:
        first.write_bytes(harm(first.read_bytes()))
    assert kafka_jars.classpath()[0].read_bytes() == central.content["one"]
    assert central.n_requests == 3


def test_a_changed_jar_is_not_run_where_it_cannot_be_fetched_anew(central: FakeCentral) -> None:
    """Headrace starts no broker with a jar of another hash."""
    first, _ = kafka_jars.classpath()
    first.write_bytes(flipped(first.read_bytes()))
    central.queued = {"one": [OSError("no network")] * 2}
    with pytest.raises(BrokerError, match="one-1.jar cannot be fetched"):
        kafka_jars.classpath()


def test_what_else_lies_in_the_cache_is_on_no_class_path(central: FakeCentral) -> None:
    """The class path is made of the pins alone, in their order."""
    wanted = kafka_jars.classpath()
    (wanted[0].parent / "another-1.jar").write_bytes(a_jar("evil"))
    (kafka_jars.cache_dir() / "classpath.txt").write_text(f"{len(a_jar('evil'))} jars/another-1.jar\n")
    assert kafka_jars.classpath() == wanted
    assert central.n_requests == 2


def test_other_pins_are_another_set(central: FakeCentral) -> None:
    kafka_jars.classpath()
    kafka_jars.PINS.write_text(kafka_jars.PINS.read_text().splitlines()[1] + "\n")
    assert [jar.name for jar in kafka_jars.classpath()] == ["one-1.jar"]


def test_the_pins_name_kafka_and_no_two_versions_of_one_jar() -> None:
    pins = kafka_jars.pins()
    names = [name.rsplit(":", 1)[0] for name, _ in pins]
    assert ("org.apache.kafka:kafka_2.13", kafka_jars.KAFKA_VERSION) in {tuple(n.rsplit(":", 1)) for n, _ in pins}
    assert len(set(names)) == len(names) == 46
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for _, digest in pins)


@pytest.mark.parametrize(
    ("jar", "fixed", "advisory"),
    [
        ("at.yawk.lz4:lz4-java", "1.10.1", "CVE-2025-12183, CVE-2025-66566"),
        ("commons-beanutils:commons-beanutils", "1.11.0", "CVE-2025-48734"),
        ("org.apache.logging.log4j:log4j-core", "2.25.4", "CVE-2025-68161, CVE-2026-34477"),
        ("com.fasterxml.jackson.core:jackson-databind", "2.21.6", "CVE-2026-54515, CVE-2026-68497"),
        ("org.apache.kafka:kafka-clients", "4.1.2", "the line's newest when this was written"),
    ],
)
def test_the_pinned_versions_are_those_without_known_advisories(jar: str, fixed: str, advisory: str) -> None:
    """The advisories are those known in November 2026."""
    versions = dict(name.rsplit(":", 1) for name, _ in kafka_jars.pins())
    assert Version(versions[jar]) >= Version(fixed), advisory
    assert "org.lz4:lz4-java" not in versions, "the old name of lz4-java gets no corrections"


def test_both_engines_run_one_version_and_the_image_is_named_by_digest() -> None:
    """Docker runs the version that was tested with the jars."""
    image = yaml.safe_load(engine_docker.COMPOSE_FILE.read_text("utf-8"))["services"]["kafka"]["image"]
    assert re.fullmatch(rf"apache/kafka:{re.escape(kafka_jars.KAFKA_VERSION)}@sha256:[0-9a-f]{{64}}", image)
    assert engine_docker.IMAGE_VERSION == kafka_jars.KAFKA_VERSION
