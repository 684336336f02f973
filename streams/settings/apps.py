"""The groups of settings for the sequencer, the recommender and the health of their workers."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from models.base.event_types import EventTypes
from streams.settings.check import check_fields, check_setting, refused
from streams.settings.event_table import DEFAULT_TABLE, read_table
from streams.settings.record_limits import MAX_ID_LENGTH, WindowBounds, check_window_fits
from streams.settings.urls import check_url


@dataclass(frozen=True)
class SequencerSettings:
    """The sequencer's windows, batches and limits.

    Parameters
    ----------
    event_types : what users do: the name of each type of event, and what it means; a table
        ``[event_types]`` in ``headrace.toml``, JSON in the variable. ``docs/data/event-types.md``
        has the fields of a type
    window_max_events : most behaviours in a window; a record must be able to hold a window with the
        longest ids: at the other defaults that allows up to 803
    window_max_age_ms : greatest age of a behaviour, counted back from the user's newest event
    allowed_lateness_ms : an event that is older than the user's newest by more than this is late;
        at most ``window_max_age_ms``
    window_max_recent : accepted events that are remembered beyond the window, to recognise repeats
    window_max_seen : items that are remembered beyond the window, as already seen
    max_future_skew_ms : how far an event's time may lie ahead of the sequencer's clock
    batch_max_records, batch_max_bytes : bounds of one record batch, the unit of work; they decide
        how much memory a fetch takes: see ``docs/operations.md``
    in_flight_batches : record batches of one worker that may await delivery
    reject_ceiling_share : the sequencer stops when it has rejected more than this share of the last
        ``reject_window`` records; at 0 it never stops and only raises an alarm
    reject_window : records over which that share is counted, for each partition
    user_ttl_days : the sequencer removes a user's window, vector and records after this many days
        without an accepted event; 0 keeps every user. A user takes 0.4 KB of the sequencer's memory
        with one event, 4.1 KB with a full window, 10.1 KB at the bounds; with RocksDB, 200,000
        users take 145 MB in all. A user who comes back starts with an empty window
    sequence_store : where the windows are; ``rocksdb`` is for state larger than memory
    data_dir : where RocksDB keeps its files; each worker needs a directory of its own
    rocksdb_cache_bytes : block cache of each partition's database
    """

    event_types: Annotated[str, Meta(description="a table of 1 to 64 types")] = DEFAULT_TABLE
    window_max_events: Annotated[int, Meta(ge=1, le=1_000)] = 50
    window_max_age_ms: Annotated[int, Meta(ge=1)] = 30 * 86_400_000
    allowed_lateness_ms: Annotated[int, Meta(ge=0)] = 86_400_000
    window_max_recent: Annotated[int, Meta(ge=0, le=1_000)] = 100
    window_max_seen: Annotated[int, Meta(ge=0, le=20_000)] = 500
    max_future_skew_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 300_000
    batch_max_records: Annotated[int, Meta(ge=1, le=100_000)] = 5_000
    batch_max_bytes: Annotated[int, Meta(ge=65_536, le=64 << 20)] = 4 * 1024 * 1024
    in_flight_batches: Annotated[int, Meta(ge=1, le=64)] = 4
    reject_ceiling_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    reject_window: Annotated[int, Meta(ge=100, le=1_000_000)] = 10_000
    user_ttl_days: Annotated[int, Meta(ge=0, le=36_500)] = 0
    sequence_store: Literal["memory", "rocksdb"] = "memory"
    data_dir: str = ".headrace/sequencer"
    rocksdb_cache_bytes: Annotated[int, Meta(ge=1 << 20, le=4 << 30)] = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        check_fields(self)
        check_setting(
            self.allowed_lateness_ms <= self.window_max_age_ms,
            "allowed_lateness_ms",
            self.allowed_lateness_ms,
            f"at most window_max_age_ms ({self.window_max_age_ms})",
        )
        check_window_fits(self.bounds())

    def types(self) -> EventTypes:
        """Return the table of event types."""
        return read_table(self.event_types)

    def bounds(self) -> WindowBounds:
        """Return the bounds of a window."""
        return WindowBounds(
            max_events=self.window_max_events,
            max_age_ms=self.window_max_age_ms,
            allowed_lateness_ms=self.allowed_lateness_ms,
            max_recent=self.window_max_recent,
            max_seen=self.window_max_seen,
            types=self.types(),
        )


@dataclass(frozen=True)
class RecommenderSettings:
    """The recommender's model, lists and back-pressure.

    Parameters
    ----------
    artifact : directory of the model artifact
    artifact_roots : folders, with commas between. The artifact must lie in one of them, and so must
        a text model that it names; links are followed. Empty means the folder around ``artifact``.
        A URI such as ``s3://bucket/models`` allows announced artifacts below it
    model_name : the key on ``models`` whose announcements this recommender follows. An announced
        artifact takes the place of ``artifact``; it must lie in ``artifact_roots`` too
    device : where the model runs; ``auto`` takes CUDA where there is a GPU
    list_size : items in a list; a record can hold 600 items with the longest ids
    n_candidates : candidates that retrieval hands to fusion; at least ``list_size``
    micro_batch_tokens : most behaviours (padding included) in one forward pass; windows that gather
        while the model is busy form the next batch, and none waits for others
    max_pending_windows : users who may wait for the model, at 0.5 to 4 KB each; when more wait, the
        recommender reads no further, so a newer window replaces an older one later than it could
    model_timeout_ms : when a forward pass takes longer, users get fallback lists until it ends; the
        first pass may take ten times as long
    model_restart_s : the worker ends, and its supervisor restarts it, when a job of the model's
        thread or the embedding of 256 texts takes longer (the first texts may take ten times as
        long), or the model fails for longer; if this is above ``stall_timeout_s``, the watchdog
        ends the worker first
    live_popularity : ``on`` counts the events since training in the windows of the worker's users,
        at 0.1 to 0.7 KB of memory a user; ``off`` keeps the artifact's popularity, so that a list
        depends on window, catalogue and artifact alone
    lists_per_minute : most lists for each user in a minute, which keeps two lists at least 60 s /
        ``lists_per_minute`` apart. The newest window always gets its list, but a waiting user holds
        up the commits of the partition, so set at least 120 / ``stall_timeout_s``
    encoder : the text model to use instead of the artifact's: one that headrace brings along, a
        folder, or a Hugging Face name; it must have the version that the artifact names. Empty
        means the artifact's own, which headrace brings along or which lies in ``artifact_roots``
    encoder_download : ``on`` allows ``encoder``, and ``--encoder`` of ``headrace train``, to be
        fetched from the Hugging Face hub; ``off`` takes only what its local cache has
    encoder_cache_dir : folder of text embeddings, found by text hash and encoder version; empty
        means the user's cache directory
    index_engine : address of a Qdrant server, 1.10 or newer, that searches among the items of a
        catalogue of more than 50,000; needs ``headrace[qdrant]``. Empty means that each worker
        searches itself: see ``docs/results/large-catalogues.md``
    index_engine_key_file : file that holds the server's API key; over https or on this machine only
    index_engine_timeout_ms : when the server takes longer, the worker searches itself
    segmenter : package that cuts Chinese text; ``rjieba`` is several times faster, and must be
        installed apart
    user_words : file of words that the segmenter keeps whole, one a line, in jieba's format; the
        same file as in training
    scenario : the key on the topic ``rules`` whose rules the lists of this deployment obey
    """

    artifact: str = ".headrace/artifact"
    artifact_roots: str = ""
    model_name: Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)] = "live"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    list_size: Annotated[int, Meta(ge=1, le=600)] = 10
    n_candidates: Annotated[int, Meta(ge=1, le=10_000)] = 100
    micro_batch_tokens: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 16_384
    max_pending_windows: Annotated[int, Meta(ge=100, le=10_000_000)] = 100_000
    model_timeout_ms: Annotated[int, Meta(ge=10, le=600_000)] = 3_000
    model_restart_s: Annotated[int, Meta(ge=1, le=86_400)] = 45
    live_popularity: Literal["on", "off"] = "on"
    lists_per_minute: Annotated[int, Meta(ge=1, le=60_000)] = 600
    encoder: str = ""
    encoder_download: Literal["off", "on"] = "off"
    encoder_cache_dir: str = ""
    index_engine: str = ""
    index_engine_key_file: str = ""
    index_engine_timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500
    segmenter: Literal["jieba", "rjieba"] = "jieba"
    user_words: str = ""
    scenario: Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_.-]+$")] = "default"

    def __post_init__(self) -> None:
        check_fields(self)
        limit = f"at least list_size ({self.list_size})"
        check_setting(self.list_size <= self.n_candidates, "n_candidates", self.n_candidates, limit)
        if self.index_engine:
            key_file = "index_engine_key_file"
            check_url("index_engine", self.index_engine, key_file, has_secret=bool(self.index_engine_key_file))

    def roots(self) -> list[Path]:
        """Return the folders in which an artifact may lie."""
        named = [Path(root) for root in self._roots() if "://" not in root]
        return named or [Path(self.artifact).absolute().parent]

    def stores(self) -> list[str]:
        """Return the URIs below which an announced artifact may lie."""
        return [root for root in self._roots() if "://" in root]

    def _roots(self) -> list[str]:
        return [root.strip() for root in self.artifact_roots.split(",") if root.strip()]


@dataclass(frozen=True)
class HealthSettings:
    """When a worker ends itself, with a code other than 0, so that its supervisor restarts it.

    Parameters
    ----------
    stall_timeout_s : longest time that a partition's committed offset may stand still while records
        wait
    recovery_timeout_s : longest time without progress in joining the group and in recovering state
    stop_timeout_s : longest time from SIGTERM to the end; in it the worker delivers and commits
        what is in flight
    web_bind : IP address that a worker serves its pages on. No token protects the pages: beyond
        loopback, such as ``0.0.0.0`` in a pod, whoever reaches the address reads them
    """

    stall_timeout_s: Annotated[float, Meta(ge=5, le=3_600)] = 60.0
    recovery_timeout_s: Annotated[float, Meta(ge=10, le=86_400)] = 120.0
    stop_timeout_s: Annotated[float, Meta(ge=1, le=600)] = 12.0
    web_bind: str = "127.0.0.1"

    def __post_init__(self) -> None:
        check_fields(self)
        try:
            ipaddress.ip_address(self.web_bind)
        except ValueError:
            raise refused("web_bind", self.web_bind, "an IP address, such as 127.0.0.1 or 0.0.0.0") from None

    def page_host(self) -> str:
        """Return the host of a URL by which this machine reaches its workers' pages."""
        address = ipaddress.ip_address(self.web_bind)
        if address.is_unspecified:
            return "127.0.0.1" if address.version == 4 else "[::1]"
        return str(address) if address.version == 4 else f"[{address}]"
