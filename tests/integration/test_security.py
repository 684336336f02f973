"""TLS, SASL and ACLs against a real broker: each part works with the least rights, and each refusal is one clear line."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.acls import ROLES, Acl, Role, acls
from streams.errors import BrokerError
from streams.rights import check_rights, prepare
from streams.settings import KafkaSettings, load_settings
from streams.topics import create_topics
from tests import tiny
from tests.certificates import OPENSSL, make_authority, sign
from tests.secured_broker import PASSWORD, PLAIN_USER, SecuredBroker, secured_broker
from tests.waiting import wait_until
from tools import engine_kafka
from tools.main import main
from tools.workers import Worker, WorkerError, WorkerName, free_port

NEEDS = "needs the openssl program and the engine kafka"
pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(OPENSSL is None or engine_kafka.problem() is not None, reason=NEEDS),
]
PREFIX = "shop-"
WAIT_S = 90.0
#: A refusal comes from the first connection, not from a client's retries.
PROMPT_S = 20.0
#: The same for a worker, which imports its libraries first; on a busy machine that is most of it.
WORKER_PROMPT_S = 60.0


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """Give a broker with a user for each role, who has that role's entries and no others, and with the topics."""
    with secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        kafka = KafkaSettings(topic_prefix=PREFIX)
        for role in ROLES:
            broker.add_user(role)
            broker.grant(role, *acls(role, kafka))
        broker.add_user("nobody")
        settings = kafka_of(broker.variables("operator"))
        assert len(asyncio.run(create_topics(settings))) == 9
        yield broker


def kafka_of(variables: dict[str, str]) -> KafkaSettings:
    """Return the settings of a client's variables."""
    return load_settings(variables | {"HEADRACE_TOPIC_PREFIX": PREFIX}).kafka


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch, secured: SecuredBroker) -> Iterator[Become]:
    """Give a function that makes the commands of this test run with a user's variables."""
    yield Become(monkeypatch, secured)


class Become:
    """Sets a user's variables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broker: SecuredBroker) -> None:
        self.monkeypatch, self.broker = monkeypatch, broker

    def __call__(self, user: str, **more: str) -> dict[str, str]:
        variables = self.broker.variables(user) | {"HEADRACE_TOPIC_PREFIX": PREFIX} | more
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)
        return variables


def worker(name: WorkerName, variables: dict[str, str], folder: Path) -> Worker:
    """Return a worker, not started."""
    more = {
        "HEADRACE_TOPIC_PREFIX": PREFIX,
        "HEADRACE_ARTIFACT": str(tiny.artifact()) if name == "recommender" else "none",
        "HEADRACE_DATA_DIR": str(folder / "data"),
        "HEADRACE_ENCODER_CACHE_DIR": str(folder / "texts"),
    }
    return Worker(name, variables | more, free_port(), folder / f"{name}.log")


def test_events_become_lists_with_the_least_rights(
    secured: SecuredBroker, become: Become, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every part has a user of its own with the documented entries; the password shows nowhere on the way."""
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
    assert "configurations of 3 topics are not judged" in logs, "what was not checked is said"


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
    """Not the first one only: mending one and meeting the next costs a person an hour."""
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
    """A list with an entry too many is not the least; one that is not checked fails later, and less clearly."""
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


@pytest.mark.parametrize("name", ["sequencer", "recommender"])
def test_a_worker_without_rights_ends_at_once_with_one_line(
    secured: SecuredBroker, name: WorkerName, tmp_path: Path
) -> None:
    """It does not retry, and it has committed and written nothing."""
    variables = secured.variables("subscriber" if name == "sequencer" else "producer")
    made = worker(name, variables, tmp_path)
    began = time.monotonic()
    with made as started, pytest.raises(WorkerError) as caught:
        started.wait_ready(WAIT_S)
    assert time.monotonic() - began < WORKER_PROMPT_S
    assert started.returncode == 1
    assert "cannot start: " in str(caught.value) and "see docs/security.md" in str(caught.value)
    assert "Traceback" not in started.log_path.read_text()


@pytest.mark.parametrize("name", ["sequencer", "recommender"])
def test_a_worker_with_a_wrong_password_ends_at_once(secured: SecuredBroker, name: WorkerName, tmp_path: Path) -> None:
    """The line names user and setting, and not the password."""
    variables = secured.variables(name, HEADRACE_SASL_PASSWORD_FILE="", HEADRACE_SASL_PASSWORD="wrong-marker")
    made = worker(name, variables, tmp_path)
    began = time.monotonic()
    with made as started, pytest.raises(WorkerError) as caught:
        started.wait_ready(WAIT_S)
    assert time.monotonic() - began < WORKER_PROMPT_S
    assert started.returncode == 1
    assert f"it refuses user '{name}' or the password" in str(caught.value)
    log = started.log_path.read_text()
    assert "Traceback" not in log and "wrong-marker" not in log


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
    """It neither goes on in silence nor reports health for ever."""
    (events,) = [acl for acl in acls("sequencer", KafkaSettings(topic_prefix=PREFIX)) if acl.name == f"{PREFIX}events"]
    with worker("sequencer", secured.variables("sequencer"), tmp_path) as started:
        started.wait_ready(WAIT_S)
        secured.revoke("sequencer", events)
        try:
            wait_until(lambda: not started.is_running, WAIT_S, started.log_tail)
            assert started.returncode not in (0, None)
        finally:
            secured.grant("sequencer", events)


CONNECTIONS: list[tuple[str, dict[str, str], str]] = [
    ("unknown user", {"HEADRACE_SASL_USERNAME": "mallory"}, "refuses user 'mallory' or the password"),
    ("user of another mechanism", {"HEADRACE_SASL_MECHANISM": "PLAIN"}, "by PLAIN"),
    ("untrusted server", {"HEADRACE_SSL_CAFILE": "{foreign}"}, "its certificate is not trusted"),
    (
        "other host name",
        {"HEADRACE_BROKER": "{misnamed}", "HEADRACE_SECURITY_PROTOCOL": "SSL"},
        "not for the host name",
    ),
    (
        "no client certificate",
        {"HEADRACE_BROKER": "{mutual}", "HEADRACE_SECURITY_PROTOCOL": "SSL"},
        "asks for one and got none",
    ),
    (
        "foreign client certificate",
        {
            "HEADRACE_BROKER": "{mutual}",
            "HEADRACE_SECURITY_PROTOCOL": "SSL",
            "HEADRACE_SSL_CERTFILE": "{cert}",
            "HEADRACE_SSL_KEYFILE": "{key}",
        },
        "refuses this client's certificate",
    ),
    ("TLS to a plain port", {"HEADRACE_BROKER": "{plain}"}, "does not speak TLS"),
    ("plain to a TLS port", {"HEADRACE_SECURITY_PROTOCOL": "PLAINTEXT"}, "asks for TLS"),
    ("no SASL where it is asked for", {"HEADRACE_SECURITY_PROTOCOL": "SSL"}, "SASL_SSL"),
    (
        "SASL where nobody asks",
        {"HEADRACE_BROKER": "{plain}", "HEADRACE_SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        "not ask for SASL",
    ),
]


@pytest.mark.parametrize("command", ["doctor", "produce", "subscribe", "replay"])
@pytest.mark.parametrize(("changes", "told"), [case[1:] for case in CONNECTIONS], ids=[case[0] for case in CONNECTIONS])
def test_a_refused_connection_is_one_line_with_its_remedy(
    secured: SecuredBroker,
    become: Become,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    changes: dict[str, str],
    told: str,
) -> None:
    """Kafka's clients say "unable to bootstrap" for all of these."""
    foreign = sign(make_authority(tmp_path, "foreign-authority"), tmp_path, "foreign")
    places = {
        "foreign": foreign.cert.with_name("foreign-authority.pem"),
        "cert": foreign.cert,
        "key": foreign.key,
        "plain": secured.plain,
        "mutual": secured.mutual,
        "misnamed": secured.misnamed,
    }
    become("producer", **{name: value.format(**places) for name, value in changes.items()})
    log = tiny.write_log(tmp_path / "log.csv", 2, 2)
    rest = {"produce": [str(log)], "replay": [str(log), "--state-dir", str(tmp_path)]}
    began = time.monotonic()
    assert (
        main(
            [command, "--artifact", str(tmp_path / "none")]
            if command == "doctor"
            else [command, *rest.get(command, [])]
        )
        == 1
    )
    assert time.monotonic() - began < PROMPT_S
    captured = capsys.readouterr()
    lines = [line for line in (captured.out + captured.err).splitlines() if told in line]
    assert len(lines) == 1 and "HEADRACE_" in lines[0], captured
    assert PASSWORD not in captured.out + captured.err


@pytest.mark.parametrize(
    ("command", "denied"),
    [
        ("produce", "does not exist, or is hidden from user 'nobody'"),
        ("replay", "does not exist, or is hidden from user 'nobody'"),
        ("subscribe", "does not exist, or is hidden"),
        ("doctor", "missing: shop-events"),
        ("up", "does not exist, or is hidden from user 'nobody'"),
    ],
)
def test_a_command_without_rights_ends_with_one_line(
    become: Become, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, denied: str
) -> None:
    """Nothing is published, nothing started."""
    become("nobody")
    log = tiny.write_log(tmp_path / "log.csv", 2, 2)
    rest = {
        "produce": [str(log)],
        "replay": [str(log), "--state-dir", str(tmp_path)],
        "up": ["--artifact", str(tiny.artifact())],
        "doctor": ["--artifact", str(tmp_path / "none")],
    }
    assert main([command, *rest.get(command, [])]) == 1
    captured = capsys.readouterr()
    assert len([line for line in (captured.out + captured.err).splitlines() if denied in line]) == 1, captured
    assert PASSWORD not in captured.out + captured.err


def test_reading_without_the_right_to_read_is_said(secured: SecuredBroker, become: Become) -> None:
    """Describe alone shows a topic; a reader that has no more must not wait for records for ever."""
    secured.grant("nobody", Acl("topic", f"{PREFIX}recommendations", ("Describe",)))
    try:
        become("nobody")
        began = time.monotonic()
        assert main(["subscribe", "--follow"]) == 1
        assert time.monotonic() - began < PROMPT_S
    finally:
        secured.revoke("nobody", Acl("topic", f"{PREFIX}recommendations", ("Describe",)))


class TalkativeWorker(Worker):
    """A worker whose log holds all that its libraries have to say."""

    def command(self) -> list[str]:
        """Return the command with the log level changed."""
        return ["debug" if word == "info" else word for word in super().command()]


def test_debug_logs_hold_no_password(secured: SecuredBroker, tmp_path: Path) -> None:
    """The client's own debug lines hold every request, the one with the password among them."""
    variables = secured.variables(PLAIN_USER, "PLAIN") | {"HEADRACE_TOPIC_PREFIX": PREFIX}
    with TalkativeWorker("sequencer", variables, free_port(), tmp_path / "log") as started:
        with pytest.raises(WorkerError, match="cannot start"):
            started.wait_ready(WAIT_S)
    log = (tmp_path / "log").read_text()
    assert "DEBUG" in log and PASSWORD not in log
