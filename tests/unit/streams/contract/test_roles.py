"""The least rights: what each role gets, what it must not get, and how a missing right is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.contract.committed_note import ACKNOWLEDGED
from streams.contract.roles import ALL_TOPICS, READS, ROLES, WRITES, Acl, acls
from streams.kafka.permissions import UNTOLD, denied_operations
from streams.kafka.topic_specs import TOPICS
from streams.sequencer.agent import build_sequencer
from streams.settings.load import KafkaSettings, Settings
from tools.main import main

DOCUMENT = Path(__file__).parents[4] / "docs" / "security.md"
KAFKA = KafkaSettings(topic_prefix="shop-")


def test_every_topic_named_is_one_of_the_contract() -> None:
    """A misspelt topic would be granted, and the right one denied."""
    assert list(ALL_TOPICS) == [spec.name for spec in TOPICS]
    for table in (READS, WRITES):
        assert set(table) == set(ROLES) and {name for names in table.values() for name in names} <= set(ALL_TOPICS)


def test_only_the_operator_makes_topics_and_nobody_deletes_or_alters() -> None:
    """A stolen worker's password must not cost a topic."""
    for role in ROLES:
        operations = {operation for acl in acls(role, KAFKA) for operation in acl.operations}
        assert operations <= {"Read", "Write", "Describe"} | (
            {"Create", "DescribeConfigs"} if role == "operator" else set()
        )
        assert all(acl.name.startswith("shop-") for acl in acls(role, KAFKA)), (
            "another deployment's names are not touched"
        )


@pytest.mark.parametrize("topic", ["sequences", "recommendations", "user-vectors"])
def test_each_topic_has_one_writer(topic: str) -> None:
    """Whoever else could write there could forge windows or lists."""
    assert len([role for role in ROLES if topic in WRITES[role]]) == 1


def test_only_producers_a_redrive_and_the_server_write_events() -> None:
    """Nothing else may make up what users did; the server takes events over HTTP."""
    assert [role for role in ROLES if "events" in WRITES[role]] == ["producer", "redriver", "server"]


def test_the_workers_own_names_are_those_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Group and transactional ids follow from the app's name."""
    app = build_sequencer(Settings(kafka=KAFKA))
    granted = {acl.kind: acl for acl in acls("sequencer", KAFKA) if "acknowledged" not in acl.name}
    assert granted["group"].name == app.conf.id
    assert granted["transactional-id"] == Acl("transactional-id", f"{app.conf.id}-", ("Write", "Describe"), True)


def test_only_the_operator_acknowledges() -> None:
    """A sequencer that could would hide what it lost."""
    may = {
        role: [acl.operations for acl in acls(role, KAFKA) if acl.name == KAFKA.group(ACKNOWLEDGED)] for role in ROLES
    }
    assert {role: found for role, found in may.items() if found} == {
        "sequencer": [("Describe",)],
        "operator": [("Read", "Describe")],
    }


@pytest.mark.parametrize(
    ("allowed", "denied"),
    [
        (0, ["Read", "Describe"]),
        (1 << 3 | 1 << 8, []),
        (1 << 8, ["Read"]),
        (1 << 4, ["Read", "Describe"]),
        (UNTOLD, []),
    ],
)
def test_bits_of_the_broker_are_read_as_operations(allowed: int, denied: list[str]) -> None:
    """In Kafka's protocol bit 3 is Read, bit 8 Describe.

    A broker that gives no bits denies nothing.
    """
    assert denied_operations(allowed, ["Read", "Describe"]) == denied


def test_the_command_prints_lines_for_kafkas_own_tool(capsys: pytest.CaptureFixture[str]) -> None:
    """What a person pastes; names with a blank are quoted."""
    assert main(["acls", "sequencer", "--broker", "b:1", "--principal", "the sequencer"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "kafka-acls.sh --bootstrap-server b:1 --add --allow-principal 'User:the sequencer' "
        "--operation Read --operation Describe --topic events"
    )
    assert lines[-1].endswith("--operation Write --operation Describe --transactional-id headrace-sequencer- "
                              "--resource-pattern-type prefixed")  # fmt: skip
    assert main(["acls", "producer", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["acls"]
    assert entry == {"kind": "topic", "name": "events", "operations": ["Write", "Describe"], "is_prefix": False}


@pytest.mark.parametrize("role", ROLES)
def test_the_document_lists_the_same_rights(role: str) -> None:
    """A list that has aged is granted all the same."""
    (row,) = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith(f"| {role} |")]
    for acl in acls(role, KafkaSettings()):  # type: ignore[arg-type]
        if role == "operator" and acl.kind == "topic":
            assert "Read" not in acl.operations or f"Read on topic `{acl.name}`" in row
            continue
        star = "*" if acl.is_prefix else ""
        assert f"{', '.join(acl.operations)} on {acl.kind} `{acl.name}{star}`" in row
