"""Kafka's jars: only pinned hashes are run, damage is fetched anew once, a complete set needs no network."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.errors import BrokerError
from tools import kafka_jars


def a_jar(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", text)
    return buffer.getvalue()


class FakeCentral:
    """Stands for jgo and Maven Central: serves what is queued for an artifact, then its good content."""

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


@pytest.mark.parametrize("damage", [b"", b"<html>proxy</html>", a_jar("1")[:-30], a_jar("another"), OSError("reset")])
def test_a_damaged_download_is_fetched_anew_once(central: FakeCentral, damage: bytes | Exception) -> None:
    central.queued = {"one": [damage]}
    assert all(jar.stat().st_size > 0 for jar in kafka_jars.classpath())
    assert central.n_requests == 3


def test_a_download_that_stays_damaged_ends_in_one_line_with_the_remedy(central: FakeCentral) -> None:
    central.queued = {"two": [a_jar("evil")] * 2}
    with pytest.raises(BrokerError, match=r"two-1\.jar came damaged.*tried 2 times; .*--engine noida") as caught:
        kafka_jars.classpath()
    assert "\n" not in str(caught.value)
    assert not (kafka_jars.cache_dir() / "classpath.txt").exists()
    assert kafka_jars.classpath()  # a later run, with a good network, works


def test_no_network_names_the_remedy_and_no_address(central: FakeCentral) -> None:
    central.queued = {name: [ConnectionError("https://host/path" + "x" * 99)] * 2 for name in ("one", "two")}
    with pytest.raises(BrokerError, match="cannot be fetched .ConnectionError.*Maven Central") as caught:
        kafka_jars.classpath()
    assert "https" not in str(caught.value)


@pytest.mark.parametrize("harm", ["remove", "truncate", "list"])
def test_a_cache_that_was_harmed_is_repaired(central: FakeCentral, harm: str) -> None:
    first, _ = kafka_jars.classpath()
    if harm == "remove":
        first.unlink()
    elif harm == "truncate":
        first.write_bytes(first.read_bytes()[:10])
    else:
        (kafka_jars.cache_dir() / "classpath.txt").write_bytes(b"\xff\n1 x")
    assert kafka_jars.classpath()[0].read_bytes() == central.content["one"]


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
