"""The topics of the contract: how each must be configured, and how an existing one differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streams.contract.reject_size import REJECTED_MAX_BYTES
from streams.errors import TopicError
from streams.settings.load import KafkaSettings

DAY_MS: Final = 86_400_000
#: Compacted topics keep a tombstone this long, so that a reader that was down still sees it.
TOMBSTONE_RETENTION_MS: Final = DAY_MS
MIN_INSYNC: Final = "min.insync.replicas"
#: A topic may have more of these than the contract asks for: nothing is deleted or refused earlier.
MORE_IS_SAFE: Final = frozenset({"retention.ms", "delete.retention.ms", "max.message.bytes", MIN_INSYNC})
FOR_EVER: Final = -1


@dataclass(frozen=True)
class TopicSpec:
    """What a topic must be: its name in the contract, its key, and its cleanup.

    ``is_keyed_by_user`` topics share one partition count, so that a user's records meet on one worker. ``retention_ms`` is
    None for compacted topics, which never expire by time. ``max_message_bytes`` is None for the broker's own limit.
    """

    name: str
    key: str
    cleanup: str
    retention_ms: int | None = None
    is_keyed_by_user: bool = True
    max_message_bytes: int | None = None

    def configs(self, replication: int = 1) -> dict[str, str]:
        """Return the topic's Kafka configuration; from three replicas on, a record that is acknowledged is on two of them."""
        limit = {} if self.max_message_bytes is None else {"max.message.bytes": str(self.max_message_bytes)}
        if replication >= 3:
            limit[MIN_INSYNC] = "2"
        if self.cleanup == "compact":
            return {"cleanup.policy": "compact", "delete.retention.ms": str(TOMBSTONE_RETENTION_MS), **limit}
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms), **limit}

    def n_partitions(self, settings: KafkaSettings) -> int:
        """Return the partition count: the configured one for topics keyed by user, one for the small catalogues."""
        return settings.partitions if self.is_keyed_by_user else 1


TOPICS: Final[tuple[TopicSpec, ...]] = (
    TopicSpec("events", "user_id", "delete", 7 * DAY_MS),
    TopicSpec("items", "item_id", "compact", is_keyed_by_user=False),
    TopicSpec("users", "user_id", "compact"),
    TopicSpec("sequences", "user_id", "compact"),
    TopicSpec("user-vectors", "user_id", "compact"),
    TopicSpec("recommendations", "user_id", "delete", DAY_MS),
    TopicSpec("models", "name", "compact", is_keyed_by_user=False),
    TopicSpec("events.rejected", "as read", "delete", 30 * DAY_MS, max_message_bytes=REJECTED_MAX_BYTES),
    TopicSpec("privacy", "user_id", "compact"),
)


@dataclass(frozen=True)
class TopicDifference:
    """One way in which a topic is unlike the contract; ``may_be_more``: more than what is expected of this setting does no harm here."""

    topic: str
    setting: str
    expected: str
    found: str
    may_be_more: bool = False

    @property
    def is_safe(self) -> bool:
        """Whether the topic has more than the contract asks for, of what does no harm: worth a note, and no error."""
        if self.setting not in MORE_IS_SAFE and not self.may_be_more:
            return False
        found, expected = int(self.found), int(self.expected)
        return found >= expected or (self.setting == "retention.ms" and found == FOR_EVER)

    @property
    def remedy(self) -> str:
        """Return what to do about it."""
        if self.setting == "exists":
            return (
                "run: headrace topics create; if it exists, it is hidden from this client, which needs Describe on it"
            )
        if self.setting == "partitions" and int(self.found) > int(self.expected):
            return (
                f"where all topics keyed by user have {self.found}, set HEADRACE_PARTITIONS={self.found}; a topic that has grown cannot "
                f"shrink, so move to new ones: HEADRACE_PARTITIONS={self.expected} headrace replay --into RUN --from-topic --partitions "
                f"{self.found}, then HEADRACE_PARTITIONS={self.expected} headrace replay --promote RUN"
            )
        if self.setting == "partitions":
            return "partitions cannot be changed in place; use another HEADRACE_TOPIC_PREFIX, or set HEADRACE_PARTITIONS to what exists"
        if self.setting == "replication":
            return "reassign the partitions with Kafka's tools, or set HEADRACE_REPLICATION to what exists"
        return f"run: kafka-configs.sh --alter --topic {self.topic} --add-config {self.setting}={self.expected}"

    def __str__(self) -> str:
        if self.is_safe:
            return f"note: {self.topic}: {self.setting} is {self.found}, more than the {self.expected} of the contract; that is safe"
        return f"{self.topic}: {self.setting} is {self.found}, must be {self.expected}; {self.remedy}"


def check_partition_count(topic: str, found: int | None, settings: KafkaSettings) -> None:
    """Raise :class:`TopicError` where a topic keyed by user has another partition count than the settings; None is not judged."""
    if found is not None and found != settings.partitions:
        raise TopicError(str(TopicDifference(topic, "partitions", str(settings.partitions), str(found))))
