"""Settings: frozen groups, checked at construction, read once from ``headrace.toml`` and the environment.

A field ``window_max_events`` is the key ``window_max_events`` of ``headrace.toml`` and the variable
``HEADRACE_WINDOW_MAX_EVENTS``; the variable wins. Field names are unique over all groups.
"""

from __future__ import annotations

import os
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from streams.errors import SettingsError
from streams.security import read_secret, tls_context
from streams.window import WindowBounds

PREFIX = "HEADRACE_"
SECRETS = frozenset({"sasl_password"})
#: Read by ``tools``, not settings of the streams.
OTHER_VARIABLES = frozenset({"HEADRACE_TEST_BROKER", "HEADRACE_DRILL_FAULTS", "HEADRACE_PARENT_PID"})


def _check(condition: bool, name: str, value: object, limit: str) -> None:
    if not condition:
        raise SettingsError(
            f"{name}={value!r} is out of range: {limit}; set {PREFIX}{name.upper()} or {name} in headrace.toml"
        )


@dataclass(frozen=True)
class KafkaSettings:
    """The broker, the topics and the consumer groups.

    Parameters
    ----------
    broker : bootstrap servers, ``host:port[,host:port]``
    topic_prefix : put before every topic name and group id; keeps deployments on one cluster apart
    partitions : partitions of the topics keyed by user; cannot be changed once they exist
    replication : replicas of every topic
    client_id : this process's name at the broker, in its logs and quotas; empty means ``headrace-`` and the app
    output_format : encoding of ``recommendations``; ``json`` is for people
    session_timeout_ms : after this silence a worker's partitions go to another one
    security_protocol, sasl_mechanism, sasl_username, sasl_password, ssl_cafile, ssl_certfile, ssl_keyfile
        as in Kafka's own clients; empty means none
    sasl_password_file : a file that holds the password alone, instead of ``sasl_password``: no child process inherits it
    user_id_key_file : a file with a key; with it, producers publish a keyed hash in place of each user_id, and ``subscribe --user``
        looks for it
    ssl_key_password_file : a file that holds the password of an encrypted ``ssl_keyfile``
    """

    broker: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    partitions: int = 4
    replication: int = 1
    client_id: str = ""
    output_format: Literal["msgpack", "json"] = "msgpack"
    session_timeout_ms: int = 6_000
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    sasl_password_file: str = ""
    ssl_key_password_file: str = ""
    user_id_key_file: str = ""

    def __post_init__(self) -> None:
        for server in self.broker.split(","):
            host, _, port = server.strip().rpartition(":")
            _check(
                bool(host) and port.isdigit() and 0 < int(port) < 65_536, "broker", self.broker, "host:port[,host:port]"
            )
        _check(1 <= self.partitions <= 10_000, "partitions", self.partitions, "1 to 10000")
        _check(1 <= self.replication <= 32, "replication", self.replication, "1 to 32")
        _check(
            6_000 <= self.session_timeout_ms <= 300_000, "session_timeout_ms", self.session_timeout_ms, "6000 to 300000"
        )

    def topic(self, name: str) -> str:
        """Return the full name of a topic of the contract."""
        return f"{self.topic_prefix}{name}"

    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of each bootstrap server."""
        parts = [server.strip().rpartition(":") for server in self.broker.split(",")]
        return [(host.strip("[]"), int(port)) for host, _, port in parts]

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context, or None where the protocol has no TLS."""
        if self.security_protocol not in ("SSL", "SASL_SSL"):
            return None
        return tls_context(self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile, self.ssl_key_password_file)

    def password(self) -> str:
        """Return the SASL password, read now where it lies in a file; raise :class:`SettingsError` where there is none."""
        if self.sasl_password and self.sasl_password_file:
            raise SettingsError("sasl_password and sasl_password_file are both set: leave one of them out")
        if not self.sasl_username or not (self.sasl_password or self.sasl_password_file):
            missing = "sasl_password_file" if self.sasl_username else "sasl_username"
            raise SettingsError(
                f"security_protocol={self.security_protocol!r} needs {missing}; set {PREFIX}{missing.upper()}"
            )
        return self.sasl_password or read_secret(self.sasl_password_file, "sasl_password_file")

    @property
    def principal(self) -> str:
        """Who this client is to the broker, for error texts."""
        if self.security_protocol.startswith("SASL"):
            return f"user {self.sasl_username!r}"
        return f"the owner of certificate {self.ssl_certfile}" if self.ssl_certfile else "a client without a name"

    def client_arguments(self) -> dict[str, Any]:
        """Return the connection arguments of an aiokafka client."""
        arguments: dict[str, Any] = {"bootstrap_servers": self.broker, "security_protocol": self.security_protocol}
        context = self.ssl_context()
        if context is not None:
            arguments["ssl_context"] = context
        if self.security_protocol.startswith("SASL"):
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.password(),
            }
        return arguments


@dataclass(frozen=True)
class SequencerSettings:
    """The sequencer's windows, batches and limits.

    Parameters
    ----------
    window_max_events : most behaviours in a window
    window_max_age_ms : greatest age of a behaviour, counted back from the user's newest event
    allowed_lateness_ms : an event older than the user's newest by more than this is late
    window_max_recent : accepted events remembered beyond the window, to recognise repeats
    window_max_seen : items remembered beyond the window, as already seen
    max_future_skew_ms : how far an event's time may lie ahead of the sequencer's clock
    batch_max_records, batch_max_bytes : bounds of one record batch, the unit of work
    in_flight_batches : record batches of one worker that may await delivery
    reject_ceiling_share : stop when more than this share of the last ``reject_window`` records was rejected
    reject_window : records over which the share is taken, for each partition
    sequence_store : ``memory``, or ``rocksdb`` for state larger than memory
    data_dir : where RocksDB keeps its files; one directory per worker
    rocksdb_cache_bytes : block cache of each partition's database
    """

    window_max_events: int = 50
    window_max_age_ms: int = 30 * 86_400_000
    allowed_lateness_ms: int = 86_400_000
    window_max_recent: int = 100
    window_max_seen: int = 500
    max_future_skew_ms: int = 300_000
    batch_max_records: int = 5_000
    batch_max_bytes: int = 4 * 1024 * 1024
    in_flight_batches: int = 4
    reject_ceiling_share: float = 0.5
    reject_window: int = 10_000
    sequence_store: Literal["memory", "rocksdb"] = "memory"
    data_dir: str = ".headrace/sequencer"
    rocksdb_cache_bytes: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        _check(1 <= self.window_max_events <= 1_000, "window_max_events", self.window_max_events, "1 to 1000")
        _check(1 <= self.window_max_age_ms, "window_max_age_ms", self.window_max_age_ms, "at least 1")
        limit = f"0 to window_max_age_ms ({self.window_max_age_ms})"
        _check(
            0 <= self.allowed_lateness_ms <= self.window_max_age_ms,
            "allowed_lateness_ms",
            self.allowed_lateness_ms,
            limit,
        )
        _check(0 <= self.window_max_recent <= 1_000, "window_max_recent", self.window_max_recent, "0 to 1000")
        _check(0 <= self.window_max_seen <= 20_000, "window_max_seen", self.window_max_seen, "0 to 20000")
        _check(
            0 <= self.max_future_skew_ms <= 86_400_000, "max_future_skew_ms", self.max_future_skew_ms, "0 to 86400000"
        )
        _check(1 <= self.batch_max_records <= 100_000, "batch_max_records", self.batch_max_records, "1 to 100000")
        _check(65_536 <= self.batch_max_bytes <= 64 << 20, "batch_max_bytes", self.batch_max_bytes, "65536 to 67108864")
        _check(1 <= self.in_flight_batches <= 64, "in_flight_batches", self.in_flight_batches, "1 to 64")
        _check(
            0 < self.reject_ceiling_share <= 1, "reject_ceiling_share", self.reject_ceiling_share, "above 0, at most 1"
        )
        _check(100 <= self.reject_window <= 1_000_000, "reject_window", self.reject_window, "100 to 1000000")
        _check(
            1 << 20 <= self.rocksdb_cache_bytes <= 4 << 30,
            "rocksdb_cache_bytes",
            self.rocksdb_cache_bytes,
            "1 MiB to 4 GiB",
        )

    def bounds(self) -> WindowBounds:
        """Return the bounds of a window."""
        return WindowBounds(
            max_events=self.window_max_events,
            max_age_ms=self.window_max_age_ms,
            allowed_lateness_ms=self.allowed_lateness_ms,
            max_recent=self.window_max_recent,
            max_seen=self.window_max_seen,
        )


@dataclass(frozen=True)
class RecommenderSettings:
    """The recommender's model, lists and back-pressure.

    Parameters
    ----------
    artifact : directory of the model artifact
    artifact_roots : folders, with commas between, of which one must contain the artifact, links followed; empty means the folder that
        ``artifact`` names it in
    device : where the model runs; ``auto`` takes CUDA if there is one
    list_size : items in a list
    n_candidates : candidates that retrieval hands to fusion
    micro_batch_tokens : behaviours (padding included) in one forward pass
    micro_batch_deadline_ms : longest time that a window waits for its micro-batch to fill
    max_pending_windows : distinct users waiting for the model; above it consumption pauses
    model_timeout_ms : when a forward pass takes longer, users get degraded lists meanwhile; ten times longer for the first one
    model_restart_s : the worker ends, for its supervisor to restart it, when a job of the model's thread takes longer, or the model
        fails for longer; above ``stall_timeout_s`` the watchdog ends it first
    live_popularity : ``on`` counts the events that come in; ``off`` leaves popularity as the artifact has it, so that a list depends
        on window, catalogue and artifact alone
    lists_per_minute : most lists per user and minute; between two lies at least 60 s over it. The newest window always gets its list; a
        user above it holds up the commits of a partition for that long, so not below 120 / ``stall_timeout_s``
    encoder_cache_dir : text embeddings on disk, by text hash and encoder version; empty means the user's cache directory
    segmenter : what cuts Chinese text; ``rjieba`` is several times faster and installed apart
    user_words : a file of words that stay whole, one a line, in jieba's format; as in training
    """

    artifact: str = ".headrace/artifact"
    artifact_roots: str = ""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    list_size: int = 10
    n_candidates: int = 100
    micro_batch_tokens: int = 16_384
    micro_batch_deadline_ms: int = 20
    max_pending_windows: int = 20_000
    model_timeout_ms: int = 3_000
    model_restart_s: int = 45
    live_popularity: Literal["on", "off"] = "on"
    lists_per_minute: int = 600
    encoder_cache_dir: str = ""
    segmenter: Literal["jieba", "rjieba"] = "jieba"
    user_words: str = ""

    def __post_init__(self) -> None:
        _check(1 <= self.list_size <= 1_000, "list_size", self.list_size, "1 to 1000")
        limit = f"list_size ({self.list_size}) to 10000"
        _check(self.list_size <= self.n_candidates <= 10_000, "n_candidates", self.n_candidates, limit)
        _check(
            1_000 <= self.micro_batch_tokens <= 10_000_000,
            "micro_batch_tokens",
            self.micro_batch_tokens,
            "1000 to 10000000",
        )
        _check(
            0 <= self.micro_batch_deadline_ms <= 10_000,
            "micro_batch_deadline_ms",
            self.micro_batch_deadline_ms,
            "0 to 10000",
        )
        _check(
            100 <= self.max_pending_windows <= 10_000_000,
            "max_pending_windows",
            self.max_pending_windows,
            "100 to 10000000",
        )
        _check(10 <= self.model_timeout_ms <= 600_000, "model_timeout_ms", self.model_timeout_ms, "10 to 600000")
        _check(1 <= self.model_restart_s <= 86_400, "model_restart_s", self.model_restart_s, "1 to 86400")
        _check(1 <= self.lists_per_minute <= 60_000, "lists_per_minute", self.lists_per_minute, "1 to 60000")

    def roots(self) -> list[Path]:
        """Return the folders that artifacts may lie in."""
        named = [Path(root.strip()) for root in self.artifact_roots.split(",") if root.strip()]
        return named or [Path(self.artifact).absolute().parent]


@dataclass(frozen=True)
class HealthSettings:
    """When a worker ends itself, non-zero, for its supervisor to restart.

    Parameters
    ----------
    stall_timeout_s : longest time that a partition's committed offset may stand still while records wait
    recovery_timeout_s : longest time without progress in joining the group and in recovering state
    stop_timeout_s : longest time from SIGTERM to the end, in which what is in flight is delivered and committed
    """

    stall_timeout_s: float = 60.0
    recovery_timeout_s: float = 120.0
    stop_timeout_s: float = 12.0

    def __post_init__(self) -> None:
        _check(5 <= self.stall_timeout_s <= 3_600, "stall_timeout_s", self.stall_timeout_s, "5 to 3600")
        _check(10 <= self.recovery_timeout_s <= 86_400, "recovery_timeout_s", self.recovery_timeout_s, "10 to 86400")
        _check(1 <= self.stop_timeout_s <= 600, "stop_timeout_s", self.stop_timeout_s, "1 to 600")


@dataclass(frozen=True)
class Settings:
    """All groups."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    sequencer: SequencerSettings = field(default_factory=SequencerSettings)
    recommender: RecommenderSettings = field(default_factory=RecommenderSettings)
    health: HealthSettings = field(default_factory=HealthSettings)

    def shown(self) -> dict[str, object]:
        """Return every setting by name, secrets masked."""
        values: dict[str, object] = {}
        for group in (self.kafka, self.sequencer, self.recommender, self.health):
            for f in fields(group):
                value = getattr(group, f.name)
                values[f.name] = "***" if f.name in SECRETS and value else value
        return values


def _convert(name: str, text: object, kind: Any) -> object:
    """Convert one setting to its type, or say what it should have been."""
    if kind in (int, float):
        try:
            return kind(str(text))
        except ValueError:
            raise SettingsError(f"{name}={text!r} is not a number: needs {kind.__name__}") from None
    if kind is str:
        return str(text)
    choices = kind.__args__
    if text not in choices:
        raise SettingsError(f"{name}={text!r} is unknown: one of {', '.join(choices)}")
    return text


def load_settings(
    environ: Mapping[str, str] | None = None, *, file: Path | None = None, **overrides: object
) -> Settings:
    """Read the settings from ``headrace.toml`` (if there), the environment and ``overrides``, the later winning.

    Raises
    ------
    SettingsError
        For an unknown name, a value of the wrong type or out of range.
    """
    environ = os.environ if environ is None else environ
    file = Path("headrace.toml") if file is None else file
    values: dict[str, object] = {}
    if file.exists():
        try:
            values |= tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise SettingsError(f"{file}: not TOML: {exc}") from exc
    values |= {
        key.removeprefix(PREFIX).lower(): text
        for key, text in environ.items()
        if key.startswith(PREFIX) and key not in OTHER_VARIABLES
    }
    values |= {key: value for key, value in overrides.items() if value is not None}
    groups: dict[str, Any] = {}
    for f in fields(Settings):
        group = get_type_hints(Settings)[f.name]
        hints = get_type_hints(group)
        given = {g.name: _convert(g.name, values.pop(g.name), hints[g.name]) for g in fields(group) if g.name in values}
        groups[f.name] = group(**given)
    if values:
        known = ", ".join(sorted(Settings().shown()))
        raise SettingsError(f"unknown setting {sorted(values)[0]!r}; known: {known}")
    return Settings(**groups)
