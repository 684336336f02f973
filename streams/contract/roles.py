"""The rights that each role needs on the broker: the smallest list of entries. Pure data.

The names are Kafka's. Entries with ``is_prefix`` are prefixed patterns, the others literal ones. In
Kafka ``Read``, ``Write``, ``Delete`` and ``Alter`` imply ``Describe``; the list names it all the
same, so that it shows what a role uses.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from streams.contract.announcements import Answering
from streams.contract.committed_note import ACKNOWLEDGED
from streams.settings.load import KafkaSettings

Role = Literal[
    "sequencer",
    "recommender",
    "producer",
    "catalogue",
    "subscriber",
    "redriver",
    "announcer",
    "eraser",
    "explainer",
    "server",
    "operator",
]
Kind = Literal["topic", "group", "transactional-id", "cluster"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

ALL_TOPICS: Final = (
    "events", "items", "users", "sequences", "user-vectors", "recommendations", "models", "events.rejected", "privacy",
    "rules", "receipts",
)  # fmt: skip

#: Topics that each role reads and writes, by name in the contract. A worker also reads the output
#: topic that is its state.
READS: Final[dict[Role, tuple[str, ...]]] = {
    "sequencer": ("events", "sequences", "privacy"),
    "recommender": ("sequences", "items", "user-vectors", "users", "models", "rules", "privacy"),
    "producer": (),
    "catalogue": ("items", "users"),
    "subscriber": ("recommendations", "items"),
    "redriver": ("events.rejected", "privacy"),  # does not send what forgotten users did before
    # shows what is announced, takes it back, and waits for the workers' answers
    "announcer": ("models", "rules", "privacy", "receipts"),
    # proves that nothing is left of a forgotten user
    "eraser": ALL_TOPICS,
    # status checks whether a partition without progress has records left, and what workers serve
    "operator": ("events", "sequences", "receipts"),
    "explainer": ("recommendations", "sequences", "events", "items", "user-vectors", "users", "models", "rules"),
    # its page shows windows, how long records take, rejects, which it redrives, and what workers
    # serve; it is a member of a group, which reads nothing, so that commands know whose receipts to
    # wait for
    "server": (
        "recommendations",
        "items",
        "users",
        "rules",
        "models",
        "sequences",
        "events",
        "events.rejected",
        "privacy",
        "receipts",
    ),  # fmt: skip
}
WRITES: Final[dict[Role, tuple[str, ...]]] = {
    # and removes requests that have lapsed
    "sequencer": ("sequences", "events.rejected", "receipts", "privacy"),
    "recommender": ("recommendations", "user-vectors", "receipts"),
    "producer": ("events",),
    "catalogue": ("items", "users"),
    "subscriber": (),
    "redriver": ("events", "events.rejected"),  # sends records, and marks those that it has sent
    "announcer": ("models", "rules", "privacy"),
    "eraser": ("users", "privacy"),
    "operator": (),
    "explainer": (),
    "server": ("events", "items", "users", "privacy", "events.rejected", "receipts"),
}


@dataclass(frozen=True)
class Acl:
    """Operations that a principal is allowed on one resource."""

    kind: Kind
    name: str
    operations: tuple[str, ...]
    is_prefix: bool = False

    def command(self, bootstrap: str, principal: str) -> str:
        """Return the line for Kafka's own tool that grants it."""
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--add", "--allow-principal", f"User:{principal}"]
        for operation in self.operations:
            words += ["--operation", operation]
        words += ["--cluster"] if self.kind == "cluster" else [f"--{self.kind}", self.name]
        return shlex.join(words + (["--resource-pattern-type", "prefixed"] if self.is_prefix else []))


def topics_of(role: Role) -> tuple[str, ...]:
    """Return the topics of the contract that a role uses; the operator uses all."""
    return ALL_TOPICS if role == "operator" else tuple(dict.fromkeys(READS[role] + WRITES[role]))


def acls(role: Role, kafka: KafkaSettings) -> tuple[Acl, ...]:
    """Return the smallest list of entries with which a role does its work."""
    return tuple(_entries(role, kafka))


def _entries(role: Role, kafka: KafkaSettings) -> Iterator[Acl]:
    if role == "operator":
        for name in ALL_TOPICS:
            operations = ("Read",) * (name in READS[role]) + ("Create", "Describe", "DescribeConfigs")
            yield Acl("topic", kafka.topic(name), operations)
        yield Acl("group", kafka.group(""), ("Describe",), is_prefix=True)
        # status --acknowledge commits there
        yield Acl("group", kafka.group(ACKNOWLEDGED), ("Read", "Describe"))
        return
    for name in topics_of(role):
        operations = ("Read",) * (name in READS[role]) + ("Write",) * (name in WRITES[role]) + ("Describe",)
        yield Acl("topic", kafka.topic(name), operations)
    if role in ("announcer", "eraser", "server"):  # who must answer; what they have committed
        for app in get_args(Answering):
            operations = ("Read", "Describe") if app == role else ("Describe",)
            yield Acl("group", kafka.group(app), operations)
    if role in ("sequencer", "recommender"):
        app = kafka.group(role)
        yield Acl("group", app, ("Read", "Describe"))
        if role == "sequencer":
            yield Acl("group", kafka.group(ACKNOWLEDGED), ("Describe",))
        yield Acl("transactional-id", f"{app}-", ("Write", "Describe"), is_prefix=True)
