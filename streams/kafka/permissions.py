"""Asks the broker which rights this client has, before work begins.

Without this check, each of Kafka's clients meets a missing right in its own way; some retry for
ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from streams.contract.roles import Acl, Role, acls, topics_of
from streams.errors import BrokerError
from streams.formats.decoders import refuse_foreign
from streams.kafka.permission_requests import GroupOperations, TopicOperations
from streams.kafka.raw_requests import find_coordinator, send
from streams.kafka.topics import create_topics, open_admin
from streams.settings.load import KafkaSettings

#: Kafka's codes of operations: bit ``code`` of the broker's answer is set where the operation is
#: allowed.
CODES: Final = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Alter": 7, "Describe": 8, "DescribeConfigs": 10}
#: The answer of a broker that does not tell the rights.
UNTOLD: Final = -(2**31)
GROUP, TRANSACTION = 0, 1


async def prepare(kafka: KafkaSettings, role: Role) -> list[str]:
    """Create the missing topics, as far as this client may, and check the rights of a role.

    Returns the full names of the topics created. A client needs no right to create if the role's
    topics exist.

    Raises
    ------
    InputError
        When the role would write events, and another system writes the topic in its own format.
    TopicError
        When a topic that the role uses is missing, or differs from the contract.
    BrokerError
        When the broker does not answer, or denies rights of the role; the message names them all.
    """
    if role == "producer":
        refuse_foreign(kafka, "events")
    created = await create_topics(kafka, topics_of(role))
    await check_rights(kafka, acls(role, kafka), f"; an operator grants what headrace acls {role} lists")
    return created


async def check_rights(
    kafka: KafkaSettings, needed: Sequence[Acl], remedy: str = "; an operator must grant it"
) -> None:
    """Raise one :class:`BrokerError` that names every needed right that the broker denies.

    On a transactional id only ``Describe`` is checked: the broker shows ``Write`` only to a client
    that uses it.
    """
    admin = await open_admin(kafka)
    try:
        missing = await _missing(admin, needed)
    except KafkaError as exc:
        raise BrokerError(f"broker {kafka.broker}: rights cannot be checked: {exc}; see its log") from exc
    finally:
        await admin.close()
    if missing:
        raise BrokerError(
            f"broker {kafka.broker} denies {kafka.principal}: {', '.join(missing)}{remedy}, see docs/security.md"
        )


async def _missing(admin: AIOKafkaAdminClient, needed: Sequence[Acl]) -> list[str]:
    told = await _topic_operations(admin, [acl.name for acl in needed if acl.kind == "topic"])
    missing = []
    for acl in needed:
        allowed: int | None = None
        if acl.kind == "topic":
            allowed = told.get(acl.name)
        elif acl.kind == "group":
            allowed = await _group_operations(admin, acl.name)
        elif acl.kind == "transactional-id":
            allowed = await _transaction_operations(admin, acl.name)
        denied = [] if allowed is None else denied_operations(allowed, acl.operations)
        missing += [f"{operation} on {acl.kind} {acl.name}{'*' * acl.is_prefix}" for operation in denied]
    return missing


def denied_operations(allowed: int, operations: Sequence[str]) -> list[str]:
    """Return the operations whose bit is not set; none when the broker does not tell."""
    return [] if allowed == UNTOLD else [operation for operation in operations if not allowed >> CODES[operation] & 1]


async def _topic_operations(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Return the allowed operations of each topic.

    Leaves out topics that do not exist; returns nothing when the broker does not tell.
    """
    if not names:
        return {}
    try:
        answer: Any = await send(admin, TopicOperations(names))
    except NotImplementedError:  # a broker before 2.3, or a small development one
        return {}
    denied = TopicAuthorizationFailedError.errno
    return {
        name: 0 if code == denied else operations
        for code, name, _internal, _partitions, operations in answer.topics
        if code in (0, denied)
    }


async def _group_operations(admin: AIOKafkaAdminClient, group: str) -> int | None:
    try:
        node = await find_coordinator(admin, GROUP, group)
        answer: Any = await send(admin, GroupOperations([group]), node)
    except GroupAuthorizationFailedError:
        return 0
    except (KafkaError, NotImplementedError):  # a coordinator that is not up yet tells nothing
        return None
    code, *_, operations = answer.groups[0]
    if code == GroupAuthorizationFailedError.errno:
        return 0
    return int(operations) if code == 0 else None


async def _transaction_operations(admin: AIOKafkaAdminClient, transactional_id: str) -> int | None:
    try:
        await find_coordinator(admin, TRANSACTION, f"{transactional_id}0")
    except TransactionalIdAuthorizationFailed:
        return 0
    except KafkaError:
        return None
    return None
