"""An Apache Kafka with TLS, SASL and ACLs for tests; no user has a right until a test grants it.

::

    PLAINTEXT   for the test itself, whose principal (ANONYMOUS) is a super user
    SECURE      SASL_SSL with PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
    TOKENS      SASL_SSL with OAUTHBEARER; its tokens need no signature, ``sub`` is the principal
    MUTUAL      SSL, asks for a client certificate; the principal is its common name
    MISNAMED    SSL with a certificate for another host
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams.contract.roles import Acl
from tests.support.security.certificates import Certificate, make_authority, sign
from tests.support.waiting import wait_until
from tools.broker import engine_kafka
from tools.broker.local_broker import _wait
from tools.workers.ports import HOST, free_port
from tools.workers.processes import end_process

PASSWORD: Final = "marker-5ecret-of-alice"  # noqa: S105 - searched for in all output
PLAIN_USER: Final = "petra"
ANSWER_S: Final = 30.0
PROPERTIES: Final = """\
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,TOKENS:SASL_SSL,MUTUAL:SSL,MISNAMED:SSL
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/,DEFAULT
listener.name.mutual.ssl.client.auth=required
listener.name.misnamed.ssl.keystore.type=PEM
listener.name.misnamed.ssl.keystore.location={misnamed}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_petra="{password}";
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.tokens.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.tokens.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
  unsecuredLoginStringClaim_sub="broker";
"""


@dataclass(frozen=True)
class SecuredBroker:
    """A running broker: where its listeners are, and its authority."""

    folder: Path
    authority: Certificate
    plain: str
    secure: str
    mutual: str
    misnamed: str
    tokens: str

    def grant(self, principal: str, *acls: Acl) -> None:
        """Allow a principal what the entries say, and wait until the node knows."""
        from confluent_kafka.admin import AclBinding

        bindings = [AclBinding(*parts) for acl in acls for parts in _parts(principal, acl)]
        admin = self._admin()  # must live as long as its answers are awaited
        for future in admin.create_acls(bindings).values():
            future.result(ANSWER_S)
        wait_until(lambda: set(bindings) <= _entries(admin, principal), ANSWER_S, lambda: f"no rights for {principal}")

    def revoke(self, principal: str, *acls: Acl) -> None:
        """Take rights away again, and wait until the node knows."""
        from confluent_kafka.admin import AclBindingFilter

        filters = [AclBindingFilter(*parts) for acl in acls for parts in _parts(principal, acl)]
        admin = self._admin()
        gone = {entry for future in admin.delete_acls(filters).values() for entry in future.result(ANSWER_S)}
        wait_until(lambda: not gone & _entries(admin, principal), ANSWER_S, lambda: f"rights stay with {principal}")

    def add_users(self, *names: str) -> None:
        """Add users for both SCRAM mechanisms, and wait until the node knows."""
        from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

        changes = [
            UserScramCredentialUpsertion(name, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            for name in names
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
        ]
        admin = self._admin()
        for change in changes:  # one request must not name a user twice
            for future in admin.alter_user_scram_credentials([change]).values():
                future.result(ANSWER_S)
        time.sleep(0.3)  # the node applies the last change a moment after its answer

    def variables(self, user: str = "", mechanism: str = "SCRAM-SHA-512", **more: str) -> dict[str, str]:
        """Return a client's variables for a user over SASL_SSL.

        The password is in a file that only the owner can read.
        """
        file = self.folder / f"{user or 'nobody'}.password"
        file.touch(mode=0o600)
        file.write_text(PASSWORD + "\n")
        return {
            "HEADRACE_BROKER": self.secure,
            "HEADRACE_SECURITY_PROTOCOL": "SASL_SSL",
            "HEADRACE_SASL_MECHANISM": mechanism,
            "HEADRACE_SASL_USERNAME": user,
            "HEADRACE_SASL_PASSWORD_FILE": str(file),
            "HEADRACE_SSL_CAFILE": str(self.authority.cert),
            **more,
        }

    def _admin(self) -> Any:
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.plain})


def _entries(admin: Any, principal: str) -> set[Any]:
    """Return the entries that the node applies.

    The node reads its metadata log after it has answered a change.
    """
    from confluent_kafka.admin import (
        AclBindingFilter,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )

    anything = (ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{principal}", None)
    wanted = AclBindingFilter(*anything, AclOperation.ANY, AclPermissionType.ANY)
    return set(admin.describe_acls(wanted).result(ANSWER_S))


def _parts(principal: str, acl: Acl) -> Iterator[tuple[object, ...]]:
    from confluent_kafka.admin import AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    kinds = {
        "topic": ResourceType.TOPIC,
        "group": ResourceType.GROUP,
        "transactional-id": ResourceType.TRANSACTIONAL_ID,
        "cluster": ResourceType.BROKER,
    }
    pattern = ResourcePatternType.PREFIXED if acl.is_prefix else ResourcePatternType.LITERAL
    for operation in acl.operations:
        named = AclOperation[operation.replace("Configs", "_Configs").upper()]
        yield kinds[acl.kind], acl.name, pattern, f"User:{principal}", "*", named, AclPermissionType.ALLOW


@contextmanager
def secured_broker(folder: Path) -> Iterator[SecuredBroker]:
    """Run a secured broker for the length of a block."""
    authority = make_authority(folder, "authority")
    server = sign(authority, folder, "server", f"IP:{HOST},DNS:localhost")
    other = sign(authority, folder, "elsewhere", "DNS:elsewhere.example")
    ports = [free_port() for _ in range(5)]
    names = ("SECURE", "MUTUAL", "MISNAMED", "TOKENS")
    data = folder / "broker"
    data.mkdir()
    state = engine_kafka.launch(
        data,
        ports[0],
        listeners=[f"{name}://{HOST}:{port}" for name, port in zip(names, ports[1:], strict=True)],
        properties=PROPERTIES.format(
            keystore=server.together(), truststore=authority.cert, misnamed=other.together(), password=PASSWORD
        ),
    )
    try:
        _wait(data, state)
        yield SecuredBroker(folder, authority, *[f"{HOST}:{port}" for port in ports])
    finally:
        assert state.process is not None
        end_process(state.process, 10.0)
