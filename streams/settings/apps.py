"""The groups of settings for the two apps and for the health of their workers."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streams.settings.check import check_setting
from streams.settings.record_limits import WindowBounds, check_window_fits


@dataclass(frozen=True)
class SequencerSettings:
    """The sequencer's windows, batches and limits.

    Parameters
    ----------
    window_max_events : most behaviours in a window; a record must hold the window with the longest ids: with the other defaults, up to 803
    window_max_age_ms : greatest age of a behaviour, counted back from the user's newest event
    allowed_lateness_ms : an event older than the user's newest by more than this is late
    window_max_recent : accepted events remembered beyond the window, to recognise repeats
    window_max_seen : items remembered beyond the window, as already seen
    max_future_skew_ms : how far an event's time may lie ahead of the sequencer's clock
    batch_max_records, batch_max_bytes : bounds of one record batch, the unit of work; a fetch takes memory by them: docs/operations.md
    in_flight_batches : record batches of one worker that may await delivery
    reject_ceiling_share : stop when more than this share of the last ``reject_window`` records was rejected; 0: never, only an alarm
    reject_window : records over which the share is taken, for each partition
    user_ttl_days : users without an accepted event for so many days are removed, window, vector and records; 0 keeps them for ever. A
        user costs 0.4 KB in the sequencer's memory with one event, 4.1 KB with a full window, 10.1 KB at the bounds; with RocksDB 200,000
        users cost it 145 MB in all. One who comes back begins anew
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
    reject_ceiling_share: float = 0.0
    reject_window: int = 10_000
    user_ttl_days: int = 0
    sequence_store: Literal["memory", "rocksdb"] = "memory"
    data_dir: str = ".headrace/sequencer"
    rocksdb_cache_bytes: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        check_setting(1 <= self.window_max_events <= 1_000, "window_max_events", self.window_max_events, "1 to 1000")
        check_setting(1 <= self.window_max_age_ms, "window_max_age_ms", self.window_max_age_ms, "at least 1")
        limit = f"0 to window_max_age_ms ({self.window_max_age_ms})"
        check_setting(
            0 <= self.allowed_lateness_ms <= self.window_max_age_ms,
            "allowed_lateness_ms",
            self.allowed_lateness_ms,
            limit,
        )
        check_setting(0 <= self.window_max_recent <= 1_000, "window_max_recent", self.window_max_recent, "0 to 1000")
        check_setting(0 <= self.window_max_seen <= 20_000, "window_max_seen", self.window_max_seen, "0 to 20000")
        check_setting(
            0 <= self.max_future_skew_ms <= 86_400_000, "max_future_skew_ms", self.max_future_skew_ms, "0 to 86400000"
        )
        check_setting(
            1 <= self.batch_max_records <= 100_000, "batch_max_records", self.batch_max_records, "1 to 100000"
        )
        check_setting(
            65_536 <= self.batch_max_bytes <= 64 << 20, "batch_max_bytes", self.batch_max_bytes, "65536 to 67108864"
        )
        check_setting(1 <= self.in_flight_batches <= 64, "in_flight_batches", self.in_flight_batches, "1 to 64")
        check_setting(
            0 <= self.reject_ceiling_share <= 1, "reject_ceiling_share", self.reject_ceiling_share, "0 (off) to 1"
        )
        check_setting(0 <= self.user_ttl_days <= 36_500, "user_ttl_days", self.user_ttl_days, "0 (off) to 36500")
        check_setting(100 <= self.reject_window <= 1_000_000, "reject_window", self.reject_window, "100 to 1000000")
        check_setting(
            1 << 20 <= self.rocksdb_cache_bytes <= 4 << 30,
            "rocksdb_cache_bytes",
            self.rocksdb_cache_bytes,
            "1 MiB to 4 GiB",
        )
        check_window_fits(self.bounds())

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
    artifact_roots : folders, with commas between, of which one must contain the artifact, and one a text model that it names, links
        followed; empty means the folder that ``artifact`` names it in
    device : where the model runs; ``auto`` takes CUDA if there is one
    list_size : items in a list; 600 with the longest ids are as much as a record may hold
    n_candidates : candidates that retrieval hands to fusion
    micro_batch_tokens : behaviours (padding included) in one forward pass
    micro_batch_deadline_ms : longest time that a window waits for its micro-batch to fill
    max_pending_windows : distinct users waiting for the model, each with 0.5 to 4 KB; above it consumption pauses, and windows are no
        longer superseded in time
    model_timeout_ms : when a forward pass takes longer, users get degraded lists meanwhile; ten times longer for the first one
    model_restart_s : the worker ends, for its supervisor to restart it, when a job of the model's thread takes longer, or the model
        fails for longer; above ``stall_timeout_s`` the watchdog ends it first
    live_popularity : ``on`` counts the events since training in the windows of the worker's users, at 0.1 to 0.7 KB of memory a user;
        ``off`` leaves popularity as the artifact has it, so that a list depends on window, catalogue and artifact alone
    lists_per_minute : most lists per user and minute; between two lies at least 60 s over it. The newest window always gets its list; a
        user above it holds up the commits of a partition for that long, so not below 120 / ``stall_timeout_s``
    encoder : the text model in place of the one that the artifact names: one that comes along, a folder, or a Hugging Face name; it must
        have the artifact's version. Empty means the artifact's own, which comes along or lies inside ``artifact_roots``
    encoder_download : ``on`` lets ``encoder``, and ``--encoder`` of ``headrace train``, be fetched from the Hugging Face hub; ``off``
        takes what its local cache has
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
    max_pending_windows: int = 100_000
    model_timeout_ms: int = 3_000
    model_restart_s: int = 45
    live_popularity: Literal["on", "off"] = "on"
    lists_per_minute: int = 600
    encoder: str = ""
    encoder_download: Literal["off", "on"] = "off"
    encoder_cache_dir: str = ""
    segmenter: Literal["jieba", "rjieba"] = "jieba"
    user_words: str = ""

    def __post_init__(self) -> None:
        check_setting(1 <= self.list_size <= 600, "list_size", self.list_size, "1 to 600")
        limit = f"list_size ({self.list_size}) to 10000"
        check_setting(self.list_size <= self.n_candidates <= 10_000, "n_candidates", self.n_candidates, limit)
        check_setting(
            1_000 <= self.micro_batch_tokens <= 10_000_000,
            "micro_batch_tokens",
            self.micro_batch_tokens,
            "1000 to 10000000",
        )
        check_setting(
            0 <= self.micro_batch_deadline_ms <= 10_000,
            "micro_batch_deadline_ms",
            self.micro_batch_deadline_ms,
            "0 to 10000",
        )
        check_setting(
            100 <= self.max_pending_windows <= 10_000_000,
            "max_pending_windows",
            self.max_pending_windows,
            "100 to 10000000",
        )
        check_setting(10 <= self.model_timeout_ms <= 600_000, "model_timeout_ms", self.model_timeout_ms, "10 to 600000")
        check_setting(1 <= self.model_restart_s <= 86_400, "model_restart_s", self.model_restart_s, "1 to 86400")
        check_setting(1 <= self.lists_per_minute <= 60_000, "lists_per_minute", self.lists_per_minute, "1 to 60000")

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
    web_bind : address that a worker's pages are served on; beyond loopback, such as ``0.0.0.0`` in a pod, everyone who reaches it
        reads them, for no token protects them
    """

    stall_timeout_s: float = 60.0
    recovery_timeout_s: float = 120.0
    stop_timeout_s: float = 12.0
    web_bind: str = "127.0.0.1"

    def __post_init__(self) -> None:
        check_setting(5 <= self.stall_timeout_s <= 3_600, "stall_timeout_s", self.stall_timeout_s, "5 to 3600")
        check_setting(
            10 <= self.recovery_timeout_s <= 86_400, "recovery_timeout_s", self.recovery_timeout_s, "10 to 86400"
        )
        check_setting(1 <= self.stop_timeout_s <= 600, "stop_timeout_s", self.stop_timeout_s, "1 to 600")
        try:
            ipaddress.ip_address(self.web_bind)
        except ValueError:
            check_setting(False, "web_bind", self.web_bind, "an IP address, such as 127.0.0.1 or 0.0.0.0")

    def page_host(self) -> str:
        """Return the host, as in a URL, at which this machine reaches its workers' pages."""
        address = ipaddress.ip_address(self.web_bind)
        if address.is_unspecified:
            return "127.0.0.1" if address.version == 4 else "[::1]"
        return str(address) if address.version == 4 else f"[{address}]"
