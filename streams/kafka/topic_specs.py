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
#: How long a segment takes records, and how long a replaced record may stay: a day each.
SEGMENT: Final = "segment.ms"
COMPACTION_LAG: Final = "max.compaction.lag.ms"
#: A topic may have more of these than the contract asks for: nothing is deleted or refused earlier.
MORE_IS_SAFE: Final = frozenset({"retention.ms", "delete.retention.ms", "max.message.bytes", MIN_INSYNC})
#: A topic may have less of these: records leave earlier. With more they stay longer, no more.
LESS_IS_SAFE: Final = frozenset({SEGMENT, COMPACTION_LAG})
FOR_EVER: Final = -1


@dataclass(frozen=True)
class TopicSpec:
    """A topic as the contract wants it.

    Parameters
    ----------
    name : without the deployment's prefix
    key : what the key of a record is
    cleanup : ``delete``, ``compact``, or both: ``compact,delete``
    retention_ms : None for topics that are compacted only, which never expire by time
    is_keyed_by_user : such topics share one partition count, so that one worker has all records of
        a user
    max_message_bytes : None for the broker's own limit
    """

    name: str
    key: str
    cleanup: str
    retention_ms: int | None = None
    is_keyed_by_user: bool = True
    max_message_bytes: int | None = None

    def configs(self, replication: int = 1) -> dict[str, str]:
        """Return the topic's Kafka configuration.

        With three or more replicas, the broker acknowledges a record when two of them have it.
        Topics of users also bound how long a record stays that a later one has replaced, or whose
        time is over: receipts of forgetting tell the date.
        """
        limit = {} if self.max_message_bytes is None else {"max.message.bytes": str(self.max_message_bytes)}
        if replication >= 3:
            limit[MIN_INSYNC] = "2"
        configs = {"cleanup.policy": self.cleanup}
        if self.retention_ms is not None:
            configs |= {"retention.ms": str(self.retention_ms)}
            configs |= {SEGMENT: str(DAY_MS)} if self.is_keyed_by_user else {}
        if "compact" in self.cleanup:
            configs |= {"delete.retention.ms": str(TOMBSTONE_RETENTION_MS)}
            configs |= {COMPACTION_LAG: str(DAY_MS)} if self.is_keyed_by_user else {}
        return configs | limit

    def n_partitions(self, settings: KafkaSettings) -> int:
        """Return the configured partition count for topics keyed by user, 1 for the catalogues."""
        return settings.partitions if self.is_keyed_by_user else 1


TOPICS: Final[tuple[TopicSpec, ...]] = (
    TopicSpec("events", "user_id", "delete", 7 * DAY_MS),
    TopicSpec("items", "item_id", "compact", is_keyed_by_user=False),
    TopicSpec("users", "user_id", "compact"),
    TopicSpec("sequences", "user_id", "compact"),
    TopicSpec("user-vectors", "user_id", "compact"),
    TopicSpec("recommendations", "user_id", "compact,delete", DAY_MS),
    TopicSpec("models", "name", "compact", is_keyed_by_user=False),
    TopicSpec("events.rejected", "as read", "delete", 30 * DAY_MS, max_message_bytes=REJECTED_MAX_BYTES),
    TopicSpec("privacy", "user_id", "compact"),
    TopicSpec("rules", "scenario", "compact", is_keyed_by_user=False),
    TopicSpec("receipts", "kind/id/app/worker or partition", "compact,delete", 30 * DAY_MS, is_keyed_by_user=False),
)


@dataclass(frozen=True)
class TopicDifference:
    """One difference between a topic and the contract.

    Parameters
    ----------
    may_be_more : a higher value than expected does no harm for this topic
    """

    topic: str
    setting: str
    expected: str
    found: str
    may_be_more: bool = False

    @property
    def is_safe(self) -> bool:
        """Whether the topic only has more than the contract asks for, where more does no harm.

        Such a difference is a note and not an error.
        """
        if self.setting in LESS_IS_SAFE:
            return True  # with more, a forgotten user's records stay longer, and receipts say how long
        if self.setting not in MORE_IS_SAFE and not self.may_be_more:
            return False
        found, expected = int(self.found), int(self.expected)
        return found >= expected or (self.setting == "retention.ms" and found == FOR_EVER)

    @property
    def may_stand(self) -> bool:
        """Whether workers start all the same; ``topics check`` reports the difference.

        They must not stop a deployment that runs, because of too few in-sync replicas, or because
        topics of an earlier version keep a forgotten user's records for longer.
        """
        is_earlier = (self.setting, self.found) == ("cleanup.policy", "delete") and "delete" in self.expected
        return self.setting == MIN_INSYNC or self.setting in LESS_IS_SAFE or is_earlier

    @property
    def remedy(self) -> str:
        """Return how an operator removes the difference."""
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
        value = f"[{self.expected}]" if "," in self.expected else self.expected
        return f"run: kafka-configs.sh --alter --topic {self.topic} --add-config {self.setting}={value}"

    def __str__(self) -> str:
        if self.setting in LESS_IS_SAFE and int(self.found) > int(self.expected):
            return (
                f"note: {self.topic}: {self.setting} is {self.found}, more than the {self.expected} of the contract: records of forgotten "
                f"users stay longer; {self.remedy}"
            )
        if self.is_safe:
            than = "less" if self.setting in LESS_IS_SAFE else "more"
            return f"note: {self.topic}: {self.setting} is {self.found}, {than} than the {self.expected} of the contract; that is safe"
        return f"{self.topic}: {self.setting} is {self.found}, must be {self.expected}; {self.remedy}"


def check_partition_count(topic: str, found: int | None, settings: KafkaSettings) -> None:
    """Raise :class:`TopicError` when the partition count is not that of the settings.

    ``found`` is None when the broker does not tell; then nothing is raised.
    """
    if found is not None and found != settings.partitions:
        raise TopicError(str(TopicDifference(topic, "partitions", str(settings.partitions), str(found))))
