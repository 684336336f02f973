"""TLS, SASL and ACLs against a real broker.

Each part works with its documented rights, and fails with fewer.
"""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.contract.roles import ROLES, Acl, Role, acls
from streams.errors import BrokerError
from streams.kafka.permissions import check_rights, prepare
from streams.settings.load import KafkaSettings
from tests.integration.security.security_runs import MARKS, PREFIX, WAIT_S, Become, kafka_of, worker
from tests.support import tiny
from tests.support.security.certificates import sign
from tests.support.security.secured_broker import PASSWORD, PLAIN_USER, SecuredBroker
from tests.support.waiting import wait_until
from tools.main import main
from tools.workers.process import WorkerError

pytestmark = MARKS


def test_events_become_lists_with_the_least_rights(
    secured: SecuredBroker, become: Become, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every part has a user of its own with the documented entries.

    No output shows the password.
    """
    become("catalogue")
    assert main(["items", "put", str(tiny.write_items(tmp_path / "items.csv"))]) == 0
    with ExitStack() as stack:
        running = [
            stack.enter_context(worker("sequencer", secured.variables("sequencer"), tmp_path)),
            stack.enter_context(worker("recommender", secured.variables("recommender", "SCRAM-SHA-256"), tmp_path)),
        ]
        for each in running:
            each.wait_ready(WAIT_S)
        become("producer")
        assert main(["replay", str(tiny.write_log(tmp_path / "log.csv", 8, 4)), "--state-dir", str(tmp_path)]) == 0
        wait_until(lambda: running[1].counts()["values"].get("lists", 0) >= 8, WAIT_S, running[1].log_tail)
        for each in running:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(
                    ("127.0.0.2", each.web_port), 2.0
                )  # every other address of this machine likewise
        shown = "".join(
            Path(f"/proc/{each.pid}/{file}").read_text() for each in running for file in ("cmdline", "environ")
        )
    become("subscriber")
    assert main(["subscribe", "--count", "8"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("Item number") >= 8
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert PASSWORD not in shown + logs + captured.out + captured.err
    assert re.search(r"configurations of \d+ topics are not judged", logs), "what was not checked is said"


def test_mutual_tls_and_plain_are_ways_in_too(secured: SecuredBroker, tmp_path: Path) -> None:
    """The certificate's common name is the principal; its key may be encrypted."""
    kafka = KafkaSettings(topic_prefix=PREFIX)
    secured.grant("certified", *acls("producer", kafka))
    secured.grant(PLAIN_USER, *acls("producer", kafka))
    own = sign(secured.authority, tmp_path, "certified", password="key-secret")
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_text("key-secret")
    mutual = {
        "HEADRACE_BROKER": secured.mutual,
        "HEADRACE_SECURITY_PROTOCOL": "SSL",
        "HEADRACE_SSL_CAFILE": str(secured.authority.cert),
        "HEADRACE_SSL_CERTFILE": str(own.cert),
        "HEADRACE_SSL_KEYFILE": str(own.key),
        "HEADRACE_SSL_KEY_PASSWORD_FILE": str(tmp_path / "secret"),
    }
    assert asyncio.run(prepare(kafka_of(mutual), "producer")) == []
    assert asyncio.run(prepare(kafka_of(secured.variables(PLAIN_USER, "PLAIN")), "producer")) == []


@pytest.mark.parametrize("role", [role for role in ROLES if role != "operator"])
def test_a_principal_without_rights_is_told_each_missing_one(secured: SecuredBroker, role: Role) -> None:
    """All of them at once: to mend one and then meet the next costs a person an hour."""
    kafka = kafka_of(secured.variables("nobody"))
    with pytest.raises(BrokerError) as caught:
        asyncio.run(check_rights(kafka, acls(role, kafka)))
    message = str(caught.value)
    for acl in acls(role, kafka):
        for operation in acl.operations:
            assert f"{operation} on {acl.kind} {acl.name}" in message
    assert "user 'nobody'" in message and "\n" not in message


@pytest.mark.parametrize("role", [role for role in ROLES if role != "operator"])
def test_each_entry_of_a_role_is_needed_and_named_when_it_is_missing(secured: SecuredBroker, role: Role) -> None:
    """A part fails at its start, with a clear line, when an entry of its role is missing.

    So each entry is needed, and each is checked.
    """
    kafka = kafka_of(secured.variables(role))
    for acl in acls(role, kafka):
        secured.revoke(role, acl)
        try:
            with pytest.raises(BrokerError) as caught:
                asyncio.run(check_rights(kafka, acls(role, kafka)))
            assert f"on {acl.kind} {acl.name}" in str(caught.value)
        finally:
            secured.grant(role, acl)
    asyncio.run(check_rights(kafka, acls(role, kafka)))


def test_a_transactional_id_that_may_only_be_seen_is_told_when_it_is_opened(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    """The one right that the broker does not tell beforehand."""
    (granted,) = [
        acl for acl in acls("sequencer", KafkaSettings(topic_prefix=PREFIX)) if acl.kind == "transactional-id"
    ]
    write = Acl(granted.kind, granted.name, ("Write",), granted.is_prefix)
    secured.revoke("sequencer", write)
    try:
        with worker("sequencer", secured.variables("sequencer"), tmp_path) as started:
            with pytest.raises(WorkerError, match="does not grant this transactional id"):
                started.wait_ready(WAIT_S)
            assert started.returncode not in (0, None)
    finally:
        secured.grant("sequencer", write)


def test_a_worker_whose_right_is_taken_away_ends(secured: SecuredBroker, tmp_path: Path) -> None:
    """It must not continue in silence, nor report that it is healthy."""
    (events,) = [acl for acl in acls("sequencer", KafkaSettings(topic_prefix=PREFIX)) if acl.name == f"{PREFIX}events"]
    with worker("sequencer", secured.variables("sequencer"), tmp_path) as started:
        started.wait_ready(WAIT_S)
        secured.revoke("sequencer", events)
        try:
            wait_until(lambda: not started.is_running, WAIT_S, started.log_tail)
            assert started.returncode not in (0, None)
        finally:
            secured.grant("sequencer", events)
