"""Settings are read once, checked at once, and never shown with their secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.errors import SettingsError
from streams.kafka.topic_specs import TOPICS
from streams.settings.check import check_setting
from streams.settings.kafka import CONTRACT_TOPICS
from streams.settings.load import GROUPS, KafkaSettings, SequencerSettings, Settings, load_settings

NOWHERE = Path("no-such-file.toml")

OUT_OF_RANGE: list[tuple[str, object]] = [
    ("broker", "no-port"),
    ("broker", "host:0"),
    ("broker", "host:65536"),
    ("broker", ":9092"),
    ("broker", "a:9092,b"),
    ("partitions", 0),
    ("partitions", 10_001),
    ("replication", 0),
    ("replication", 33),
    ("session_timeout_ms", 5_999),
    ("session_timeout_ms", 300_001),
    ("window_max_events", 0),
    ("window_max_events", 1_001),
    ("window_max_age_ms", 0),
    ("allowed_lateness_ms", -1),
    ("allowed_lateness_ms", 30 * 86_400_000 + 1),
    ("window_max_recent", -1),
    ("window_max_recent", 1_001),
    ("window_max_seen", -1),
    ("window_max_seen", 20_001),
    ("max_future_skew_ms", -1),
    ("max_future_skew_ms", 86_400_001),
    ("batch_max_records", 0),
    ("batch_max_records", 100_001),
    ("batch_max_bytes", 65_535),
    ("batch_max_bytes", (64 << 20) + 1),
    ("in_flight_batches", 0),
    ("in_flight_batches", 65),
    ("reject_ceiling_share", -0.01),
    ("reject_ceiling_share", 1.01),
    ("reject_ceiling_share", float("nan")),
    ("reject_window", 99),
    ("reject_window", 1_000_001),
    ("rocksdb_cache_bytes", (1 << 20) - 1),
    ("rocksdb_cache_bytes", (4 << 30) + 1),
    ("list_size", 0),
    ("list_size", 601),
    ("n_candidates", 9),
    ("n_candidates", 10_001),
    ("micro_batch_tokens", 999),
    ("micro_batch_tokens", 10_000_001),
    ("max_pending_windows", 99),
    ("max_pending_windows", 10_000_001),
    ("model_timeout_ms", 9),
    ("model_timeout_ms", 600_001),
    ("model_restart_s", 0),
    ("model_restart_s", 86_401),
    ("lists_per_minute", 0),
    ("lists_per_minute", 60_001),
    ("stall_timeout_s", 4.9),
    ("stall_timeout_s", "nan"),
    ("recovery_timeout_s", 9),
    ("stop_timeout_s", 0),
    ("stop_timeout_s", 601),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE, ids=[f"{name}={value}" for name, value in OUT_OF_RANGE])
def test_value_out_of_range_names_itself_and_its_remedy(name: str, value: object) -> None:
    """A wrong setting stops the start; one line has field, value, limit and where to set it."""
    with pytest.raises(SettingsError) as caught:
        load_settings({f"HEADRACE_{name.upper()}": str(value)}, file=NOWHERE)
    message = str(caught.value)
    assert message.startswith((f"{name}={str(value)!r} must be ", f"{name}={value!r} must be "))
    assert message.endswith(f"; set HEADRACE_{name.upper()} or {name} in headrace.toml")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("partitions", "many", "must be a whole number from 1 to 10000"),
        ("partitions", "1.5", "must be a whole number"),
        ("partitions", "", "must be a whole number"),
        ("output_format", "xml", "msgpack, json"),
        ("security_protocol", "TLS", "PLAINTEXT, SSL"),
        ("sequence_store", "disk", "memory, rocksdb"),
        ("device", "gpu", "must be one of auto, cpu, cuda"),
        ("stall_timeout_s", "soon", "must be a number from 5 to 3600"),
        ("window_max_age_ms", "1e3", "must be a whole number, at least 1;"),
    ],
)
def test_value_of_the_wrong_kind_is_refused(name: str, value: str, told: str) -> None:
    """The error for text in place of a number, or for an unknown word, says what is allowed."""
    with pytest.raises(SettingsError, match=told):
        load_settings({f"HEADRACE_{name.upper()}": value}, file=NOWHERE)


def test_unknown_name_is_refused() -> None:
    """If a misspelt setting were ignored, the operator would believe that it acts."""
    with pytest.raises(SettingsError, match="unknown setting 'partitons'.*partitions"):
        load_settings({"HEADRACE_PARTITONS": "3"}, file=NOWHERE)


@pytest.mark.parametrize(
    "name",
    [
        f"HEADRACE_{service}{link}"
        for service in ("", "WEB_", "RECOMMENDER_2_")
        for link in (
            "PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP_PAGES",
            "PORT_6066_TCP", "PORT_6066_TCP_PROTO", "PORT_6066_TCP_PORT", "PORT_6066_UDP_ADDR", "PORT_9_SCTP",
        )
    ],
)  # fmt: skip
def test_service_links_of_kubernetes_are_left_alone(name: str, tmp_path: Path) -> None:
    """A Service named headrace must not stop the workers; in the file its name is a mistake."""
    assert load_settings({name: "tcp://10.0.0.7:6066"}, file=NOWHERE) == Settings()
    file = tmp_path / "headrace.toml"
    file.write_text(f"{name.removeprefix('HEADRACE_').lower()} = 'x'\n")
    with pytest.raises(SettingsError, match="unknown setting"):
        load_settings({}, file=file)


@pytest.mark.parametrize("name", ["HEADRACE_PORTS", "HEADRACE_PORT_X_TCP", "HEADRACE_SERVICE", "HEADRACE_SERVICEPORT"])
def test_only_whole_service_links_are_left_alone(name: str) -> None:
    """A name that only resembles a link is a misspelt setting."""
    with pytest.raises(SettingsError, match="unknown setting"):
        load_settings({name: "1"}, file=NOWHERE)


def test_no_setting_is_named_like_a_service_link() -> None:
    """Otherwise the setting would get a Service's address as its value."""
    assert not [name for name in Settings().shown() if name.endswith(("_port", "service_host")) or name == "port"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("partitions", " 5 ", 5), ("batch_max_records", "10_000", 10_000), ("stall_timeout_s", "6e1", 60.0)],
)
def test_numbers_are_written_as_in_python(name: str, text: str, value: float) -> None:
    """Spaces around a number, separators in it and exponents are allowed."""
    found = load_settings({f"HEADRACE_{name.upper()}": text}, file=NOWHERE).shown()[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("given", "meant"), [("partitons", "partitions"), ("brokers", "broker"), ("web_bnd", "web_bind")]
)
def test_a_misspelt_name_gets_the_nearest(given: str, meant: str) -> None:
    """The line itself has the remedy."""
    with pytest.raises(SettingsError, match=f"unknown setting '{given}'; did you mean '{meant}'"):
        load_settings({f"HEADRACE_{given.upper()}": "3"}, file=NOWHERE)


def test_foreign_variables_are_left_alone() -> None:
    """Headrace reads only the variables with its prefix."""
    assert load_settings({"PARTITIONS": "9", "PATH": "x"}, file=NOWHERE) == Settings()


def test_override_beats_environment_beats_file(tmp_path: Path) -> None:
    """The nearest to the person wins: option, then variable, then file, then default."""
    file = tmp_path / "headrace.toml"
    file.write_text('broker = "file:1"\npartitions = 2\nreplication = 3\n')
    settings = load_settings({"HEADRACE_BROKER": "env:1", "HEADRACE_PARTITIONS": "5"}, file=file, broker="option:1")
    assert (settings.kafka.broker, settings.kafka.partitions, settings.kafka.replication) == ("option:1", 5, 3)
    assert load_settings({}, file=file, broker=None).kafka.broker == "file:1", "an option not given does not count"


@pytest.mark.parametrize("text", ["broker = ", "\x00", "[kafka]\npartitions = 3"])
def test_bad_file_is_one_line(tmp_path: Path, text: str) -> None:
    """One line names a damaged file, or a file with an unknown table."""
    file = tmp_path / "headrace.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings({}, file=file)
    assert "\n" not in str(caught.value)


def test_no_error_of_a_setting_shows_a_secret() -> None:
    """Errors are printed and logged."""
    with pytest.raises(SettingsError, match=r"sasl_password=\*\*\* must be shorter"):
        check_setting(False, "sasl_password", "hunter2", "shorter")


def test_a_group_that_is_built_in_code_is_checked_too() -> None:
    """Commands replace fields of a group that was loaded."""
    with pytest.raises(SettingsError, match="partitions=0 must be a whole number from 1 to 10000"):
        replace(KafkaSettings(), partitions=0)


def test_secret_is_masked_wherever_settings_are_shown() -> None:
    """Many people read logs and reports."""
    settings = load_settings({"HEADRACE_SASL_PASSWORD": "hunter2", "HEADRACE_SASL_USERNAME": "shop"}, file=NOWHERE)
    assert settings.kafka.sasl_password == "hunter2"
    assert settings.shown()["sasl_password"] == "***"
    assert settings.shown()["sasl_username"] == "shop"
    assert "hunter2" not in repr(settings) + repr(settings.kafka) + str(settings.shown())


def test_security_reaches_the_client() -> None:
    """A client that misses a TLS or SASL setting connects without protection, or not at all."""
    kafka = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_username="u", sasl_password="p"
    )
    arguments: dict[str, Any] = kafka.client_arguments()
    assert arguments["security_protocol"] == "SASL_SSL"
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("u", "p")
    assert arguments["ssl_context"].check_hostname
    assert set(KafkaSettings().client_arguments()) == {"bootstrap_servers", "security_protocol"}


def test_prefix_is_put_before_topics() -> None:
    """Two deployments on one cluster must not meet."""
    assert KafkaSettings(topic_prefix="a.").topic("events") == "a.events"


def test_prefix_is_put_before_groups() -> None:
    """Workers, lag and access entries must mean the same group; all groups share a beginning."""
    kafka = KafkaSettings(topic_prefix="a.")
    assert kafka.group("sequencer") == "a.headrace-sequencer"
    assert kafka.group("") == "a.headrace-"


def test_security_without_the_address() -> None:
    """Where the broker's address comes from elsewhere, a second address would contradict it."""
    kafka = KafkaSettings(
        broker="b:1", security_protocol="SASL_PLAINTEXT", sasl_plaintext="on", sasl_username="u", sasl_password="p"
    )
    assert kafka.client_arguments() == {"bootstrap_servers": "b:1"} | kafka.security_arguments()
    assert "bootstrap_servers" not in kafka.security_arguments()
    assert kafka.security_arguments()["sasl_plain_password"] == "p"


def test_bounds_are_those_of_the_settings() -> None:
    """A bound that the window does not get does not act."""
    settings = SequencerSettings(
        window_max_events=1, window_max_age_ms=20, allowed_lateness_ms=3, window_max_recent=4, window_max_seen=5
    )
    bounds = settings.bounds()
    assert (bounds.max_events, bounds.max_age_ms, bounds.allowed_lateness_ms) == (1, 20, 3)
    assert (bounds.max_recent, bounds.max_seen) == (4, 5)


def test_field_names_are_unique_over_all_groups() -> None:
    """All groups share one flat space of variables, so a name has one owner."""
    settings = Settings()
    n_fields = sum(len(vars(getattr(settings, name))) for name in GROUPS)
    assert len(settings.shown()) == n_fields


def test_topics_can_be_named_one_by_one() -> None:
    """MirrorMaker renames what it copies; the others keep prefix and name."""
    kafka = KafkaSettings(topic_prefix="shop-", topic_events="source.events", topic_events_rejected="bad")
    assert [kafka.topic(name) for name in ("events", "events.rejected", "user-vectors")] == [
        "source.events",
        "bad",
        "shop-user-vectors",
    ]
    assert all(f"topic_{spec.name.replace('-', '_').replace('.', '_')}" in Settings().shown() for spec in TOPICS)
    assert [spec.name for spec in TOPICS] == list(CONTRACT_TOPICS)


@pytest.mark.parametrize("name", ["a b", "..", "x" * 250, "shop/events", "p.items"])
def test_a_topic_name_that_cannot_be_is_refused(name: str) -> None:
    """The broker refuses the name, or another topic has it."""
    with pytest.raises(SettingsError, match="topic_events="):
        KafkaSettings(topic_prefix="p.", topic_events=name)


def test_a_command_that_keeps_its_topics_apart_refuses_full_names() -> None:
    """A drill writes to its topics and deletes them: they must not be the live ones."""
    environ = {"HEADRACE_TOPIC_EVENTS": "source.events"}
    assert load_settings(environ, file=NOWHERE).kafka.topic("events") == "source.events"
    with pytest.raises(SettingsError, match="topic_events='source.events'.*unset it"):
        load_settings(environ, file=NOWHERE, topic_prefix="drill-1.")
