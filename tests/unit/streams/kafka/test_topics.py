"""The topics of the contract: their settings, and what is said where they differ."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import NodeNotReadyError, TopicAuthorizationFailedError

from streams.errors import BrokerError, TopicError
from streams.kafka import topics
from streams.kafka.retention import LOOKS_MS, longest_ms
from streams.kafka.topic_specs import TOPICS, TopicDifference, TopicSpec
from streams.kafka.topics import _differences
from streams.settings.load import KafkaSettings
from tools.commands.running.topics import as_result, refuse_other_partitions

SETTINGS = KafkaSettings(partitions=4, replication=1)
EVENTS = next(spec for spec in TOPICS if spec.name == "events")
REJECTED = next(spec for spec in TOPICS if spec.name == "events.rejected")
ITEMS = next(spec for spec in TOPICS if spec.name == "items")


def described(n_partitions: int, n_replicas: int = 1) -> dict[str, Any]:
    """Return a topic as an admin client describes it."""
    return {"partitions": [{"replicas": list(range(n_replicas))} for _ in range(n_partitions)]}


def found(spec: TopicSpec, topic: dict[str, Any], configs: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return the differences as plain tuples."""
    return [(d.setting, d.expected, d.found) for d in _differences(spec.name, spec, topic, configs, SETTINGS)]


def test_topic_as_it_must_be_has_no_difference() -> None:
    """A check that cries on good topics is switched off."""
    assert found(EVENTS, described(4), EVENTS.configs() | {"min.insync.replicas": "1"}) == []
    assert found(ITEMS, described(1), ITEMS.configs()) == []


@pytest.mark.parametrize(
    ("topic", "configs", "difference"),
    [
        (described(3), {}, ("partitions", "4", "3")),
        (described(4, 3), {}, ("replication", "1", "3")),
        (described(4), {"cleanup.policy": "compact"}, ("cleanup.policy", "delete", "compact")),
        (described(4), {"retention.ms": "1000"}, ("retention.ms", "604800000", "1000")),
    ],
)
def test_each_difference_is_found(
    topic: dict[str, Any], configs: dict[str, str], difference: tuple[str, str, str]
) -> None:
    """Each of these would lose or misplace records."""
    assert found(EVENTS, topic, configs) == [difference]


def test_a_catalogue_may_have_more_partitions() -> None:
    """Every reader reads all of it; a topic keyed by user must have the count of the others."""
    (more,) = _differences("items", ITEMS, described(3), {}, SETTINGS)
    assert more.is_safe and "partitions is 3, more than the 1" in str(more)
    (other,) = _differences("events", EVENTS, described(5), {}, SETTINGS)
    assert not other.is_safe
    result = as_result(SETTINGS, [], [more, other])
    told = {topic["name"]: (topic["partitions"], topic["ok"]) for topic in result["topics"]}
    assert told["items"] == (3, True) and told["events"] == (5, False)
    assert result["notes"] == [str(more)] and result["ok"] is False


def test_all_differences_are_told_at_once() -> None:
    """Mending one and finding the next costs a person an hour."""
    assert len(found(EVENTS, described(3, 2), {"cleanup.policy": "compact", "retention.ms": "1"})) == 4


def test_settings_that_a_broker_does_not_tell_are_not_judged() -> None:
    """A small development broker has no configurations."""
    assert found(EVENTS, described(4), {}) == []


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("exists", "headrace topics create"),
        ("partitions", "HEADRACE_PARTITIONS"),
        ("replication", "HEADRACE_REPLICATION"),
        ("cleanup.policy", "kafka-configs.sh --alter --topic t --add-config cleanup.policy=x"),
    ],
)
def test_each_difference_has_a_remedy(setting: str, remedy: str) -> None:
    """An error without a next step is half an error."""
    values = ("8", "6") if setting == "partitions" else ("x", "y")
    text = str(TopicDifference("t", setting, *values))
    assert remedy in text and "\n" not in text and "t: " in text


def test_a_topic_that_has_grown_has_the_remedy_that_moves_its_users() -> None:
    """Another prefix would leave the events behind.

    The new count alone would treat the moved users' windows as whole.
    """
    text = TopicDifference("events", "partitions", "4", "6").remedy
    assert "HEADRACE_PARTITIONS=4 headrace replay --into RUN --from-topic --partitions 6" in text
    assert "set HEADRACE_PARTITIONS=6" in text


@pytest.mark.parametrize(
    ("spec", "setting", "value", "is_safe"),
    [
        (EVENTS, "retention.ms", "1209600000", True),
        (EVENTS, "retention.ms", "-1", True),
        (EVENTS, "retention.ms", "604799999", False),
        (ITEMS, "delete.retention.ms", "172800000", True),
        (ITEMS, "delete.retention.ms", "0", False),
        (ITEMS, "cleanup.policy", "compact,delete", False),
        (REJECTED, "max.message.bytes", str(8 << 20), True),
        (REJECTED, "max.message.bytes", "1000012", False),
    ],
)
def test_more_than_the_contract_asks_for_is_a_note(spec: TopicSpec, setting: str, value: str, is_safe: bool) -> None:
    """A company's longer retention is no error, and no reason to refuse to start."""
    (difference,) = _differences(spec.name, spec, described(spec.n_partitions(SETTINGS)), {setting: value}, SETTINGS)
    assert difference.is_safe == is_safe
    assert str(difference).startswith("note: ") == is_safe


@pytest.mark.parametrize(
    ("replication", "found_value", "told"),
    [(1, "1", []), (2, "1", []), (3, "2", []), (3, "1", [False]), (3, "3", [True]), (3, None, []), (5, "1", [False])],
)
def test_from_three_replicas_on_two_must_be_in_sync(
    replication: int, found_value: str | None, told: list[bool]
) -> None:
    """With one replica in sync, an acknowledged record is lost with its broker.

    Where the broker does not tell, nothing is judged.
    """
    settings = KafkaSettings(partitions=4, replication=replication)
    configs = {} if found_value is None else {"min.insync.replicas": found_value}
    assert EVENTS.configs(replication).get("min.insync.replicas") == ("2" if replication >= 3 else None)
    differences = _differences("events", EVENTS, described(4, replication), configs, settings)
    assert [difference.is_safe for difference in differences] == told


def test_too_few_replicas_in_sync_keep_no_worker_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics that exist since before the contract asked for two; ``topics check`` tells."""

    async def compare(_settings: KafkaSettings) -> list[TopicDifference]:
        return [TopicDifference("events", "min.insync.replicas", "2", "1")]

    async def open_admin(_settings: KafkaSettings) -> FakeAdmin:
        return FakeAdmin([spec.name for spec in TOPICS])

    monkeypatch.setattr(topics, "open_admin", open_admin)
    monkeypatch.setattr(topics, "compare", compare)
    assert asyncio.run(topics.create_topics(SETTINGS)) == []


def test_compacted_topics_keep_tombstones_and_never_expire() -> None:
    """A compacted topic with time retention loses the state of quiet users."""
    for spec in TOPICS:
        configs = spec.configs()
        assert ("retention.ms" in configs) == ("delete" in spec.cleanup)
        assert ("delete.retention.ms" in configs) == ("compact" in spec.cleanup)


def test_a_topic_of_a_user_bounds_how_long_what_is_replaced_may_stay() -> None:
    """Receipts of forgetting tell a date; a topic of an earlier version stops no worker."""
    for spec in TOPICS:
        bound = longest_ms(spec.configs())
        assert bound is not None or not spec.is_keyed_by_user
    names = {"segment.ms": "604800000", "max.compaction.lag.ms": "9223372036854775807", "cleanup.policy": "delete"}
    for setting, found in names.items():
        expected = TOPICS[5].configs()[setting]
        difference = TopicDifference("recommendations", setting, expected, found)
        assert difference.may_stand and difference.is_safe == (setting != "cleanup.policy")
        assert f"{setting}=" in str(difference)
    assert TopicDifference("recommendations", "segment.ms", "86400000", "3600000").is_safe
    assert not TopicDifference("events", "cleanup.policy", "delete", "compact").may_stand
    assert "[compact,delete]" in TopicDifference("r", "cleanup.policy", "compact,delete", "delete").remedy


def test_the_longest_time_is_none_without_a_bound() -> None:
    """A segment takes records until it is full or old, and leaves a retention after its last."""
    day = 86_400_000
    deleting = {"cleanup.policy": "delete", "retention.ms": str(7 * day), "segment.ms": str(day)}
    assert longest_ms(deleting) == 8 * day + LOOKS_MS
    assert longest_ms(deleting | {"retention.ms": "-1"}) is None
    assert longest_ms({"cleanup.policy": "compact", "max.compaction.lag.ms": "9223372036854775807"}) is None
    both = deleting | {"cleanup.policy": "compact,delete", "max.compaction.lag.ms": str(day)}
    assert longest_ms(both) == 2 * day + LOOKS_MS
    assert longest_ms({}) is None, "the broker does not tell"


def test_topics_keyed_by_user_share_one_partition_count() -> None:
    """A user's event, window and list must meet on one worker."""
    counts = {spec.n_partitions(KafkaSettings(partitions=7)) for spec in TOPICS if spec.is_keyed_by_user}
    assert counts == {7}
    assert {spec.name for spec in TOPICS if not spec.is_keyed_by_user} == {"items", "models", "rules", "receipts"}


def test_largest_event_fits_among_the_rejected() -> None:
    """A reject holds the original bytes and headers.

    Without the room, one record at the broker's limit would stop the sequencer for good.
    """
    broker_default, headers = 1_048_588, 2_000
    rejected = next(spec for spec in TOPICS if spec.name == "events.rejected")
    assert int(rejected.configs()["max.message.bytes"]) >= broker_default + headers


def test_other_partition_count_is_one_line() -> None:
    """``--partitions`` unlike what exists touches many topics; one line says it."""
    differences = [TopicDifference(name, "partitions", "8", "4") for name in ("events", "users", "sequences")]
    with pytest.raises(TopicError, match=r"events: partitions is 4, must be 8; .* \(and 2 more topics\)"):
        refuse_other_partitions(differences)
    refuse_other_partitions([TopicDifference("events", "exists", "yes", "no")])


def test_result_tells_what_exists() -> None:
    """The JSON result must show the truth, not the wish."""
    result = as_result(SETTINGS, [], [TopicDifference("events", "partitions", "4", "3")])
    events = next(topic for topic in result["topics"] if topic["name"] == "events")
    assert (events["partitions"], events["ok"], result["ok"]) == (3, False, False)
    assert [topic["name"] for topic in result["topics"]] == [spec.name for spec in TOPICS]
    assert all(topic["ok"] for topic in result["topics"] if topic["name"] != "events")


class FakeAdmin:
    """Answers that every topic was created, or that this client may not."""

    def __init__(self, visible: Sequence[str] = (), code: int = 0) -> None:
        self.visible, self.code = list(visible), code

    async def list_topics(self) -> list[str]:
        """Return the topics that the client may see."""
        return self.visible

    async def create_topics(self, topics: list[Any]) -> Any:
        """Return what a broker returns."""
        return SimpleNamespace(topic_errors=[(topic.name, self.code) for topic in topics])

    async def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(("n_looks_missing", "is_refused"), [(2, False), (1_000, True)])
def test_a_topic_just_created_may_take_a_moment_to_show(
    monkeypatch: pytest.MonkeyPatch, n_looks_missing: int, is_refused: bool
) -> None:
    """A broker answers before all of its threads know the topic.

    A topic that never shows is an error all the same.
    """
    looks = 0

    async def open_admin(_settings: KafkaSettings) -> FakeAdmin:
        return FakeAdmin()

    async def compare(_settings: KafkaSettings) -> list[TopicDifference]:
        nonlocal looks
        looks += 1
        return [TopicDifference("privacy", "exists", "yes", "no")] if looks <= n_looks_missing else []

    monkeypatch.setattr(topics, "open_admin", open_admin)
    monkeypatch.setattr(topics, "compare", compare)
    monkeypatch.setattr(topics, "VISIBLE_WITHIN_S", 0.5)
    if is_refused:
        with pytest.raises(TopicError, match="privacy"):
            asyncio.run(topics.create_topics(SETTINGS))
    else:
        assert len(asyncio.run(topics.create_topics(SETTINGS))) == len(TOPICS)
        assert looks == n_looks_missing + 1


@pytest.mark.parametrize(
    ("visible", "told"),
    [(["events"], None), ([], "events: does not exist, or is hidden from a client without a name")],
)
def test_who_may_not_create_needs_only_the_topics_it_uses(
    monkeypatch: pytest.MonkeyPatch, visible: list[str], told: str | None
) -> None:
    """With the least rights the other topics are hidden.

    headrace neither refuses for that reason nor asks for more rights.
    """

    async def open_admin(_settings: KafkaSettings) -> FakeAdmin:
        return FakeAdmin(visible, TopicAuthorizationFailedError.errno)

    async def compare(_settings: KafkaSettings) -> list[TopicDifference]:
        return [TopicDifference(spec.name, "exists", "yes", "no") for spec in TOPICS if spec.name not in visible]

    monkeypatch.setattr(topics, "open_admin", open_admin)
    monkeypatch.setattr(topics, "compare", compare)
    if told is None:
        assert asyncio.run(topics.create_topics(SETTINGS, ["events"])) == []
    else:
        with pytest.raises(TopicError, match=told):
            asyncio.run(topics.create_topics(SETTINGS, ["events"]))


class WakingAdmin(FakeAdmin):
    """Asks a broker that has just come back and does not know itself yet."""

    async def list_topics(self) -> list[str]:
        """Fail as aiokafka does then."""
        raise NodeNotReadyError("node id None")


def test_a_broker_that_is_waking_up_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that starts at that moment ended with a traceback."""

    async def open_admin(_settings: KafkaSettings) -> FakeAdmin:
        return WakingAdmin()

    monkeypatch.setattr(topics, "open_admin", open_admin)
    for ask in (topics.create_topics, topics.compare):
        with pytest.raises(BrokerError, match=r"does not answer about its topics: .*; it may be starting"):
            asyncio.run(ask(SETTINGS))
