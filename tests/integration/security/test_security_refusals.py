"""Refusals of a secured broker.

Workers and commands end at once, each with one clear line that holds no password.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.contract.committed_note import ACKNOWLEDGED, Gap, Judged, encode
from streams.contract.roles import Acl, acls
from streams.kafka import connection_diagnosis as connecting
from streams.kafka.readers import open_reader
from streams.kafka.topics import create_topics
from streams.settings.load import load_settings
from tests.integration.security.security_runs import MARKS, PREFIX, PROMPT_S, Become, worker
from tests.support import tiny
from tests.support.security.certificates import Certificate, make_authority, sign
from tests.support.security.secured_broker import PASSWORD, PLAIN_USER, SecuredBroker
from tools.main import main
from tools.workers.apps import AppName
from tools.workers.ports import free_port
from tools.workers.process import Worker, WorkerError

pytestmark = MARKS
#: Longest time for workers, which spend most of it on imports on a busy machine.
WORKERS_PROMPT_S = 60.0


class TalkativeWorker(Worker):
    """A worker that logs at level DEBUG, its libraries too."""

    def command(self) -> list[str]:
        """Return the command with the log level changed."""
        return ["debug" if word == "info" else word for word in super().command()]


@dataclass(frozen=True)
class Refused:
    """A worker that could not start: its exit code, what was told of it, and its log."""

    returncode: int | None
    told: str
    log: str


@pytest.fixture(scope="module")
def refused(secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refused]:
    """Start workers that the broker refuses, side by side; give each by app and reason."""

    def made(name: AppName, reason: str, variables: dict[str, str]) -> Worker:
        return worker(name, variables, tmp_path_factory.mktemp(f"{name}-{reason}"))

    wrong = {"HEADRACE_SASL_PASSWORD_FILE": "", "HEADRACE_SASL_PASSWORD": "wrong-marker"}
    plain = secured.variables(PLAIN_USER, "PLAIN") | {"HEADRACE_TOPIC_PREFIX": PREFIX}
    log = tmp_path_factory.mktemp("talkative") / "log"
    workers = {
        "sequencer rights": made("sequencer", "rights", secured.variables("subscriber")),
        "recommender rights": made("recommender", "rights", secured.variables("producer")),
        "sequencer password": made("sequencer", "password", secured.variables("sequencer", **wrong)),
        "recommender password": made("recommender", "password", secured.variables("recommender", **wrong)),
        "talkative": TalkativeWorker("sequencer", plain, free_port(), log),
    }
    with ExitStack() as stack:
        for each in workers.values():
            stack.enter_context(each)
        found = {}
        for name, each in workers.items():
            with pytest.raises(WorkerError) as caught:
                each.wait_ready(WORKERS_PROMPT_S)
            assert not each.is_running, "refused at once, not after a client's retries"
            found[name] = Refused(each.returncode, str(caught.value), each.log_path.read_text())
    return found


@pytest.mark.parametrize("name", ["sequencer", "recommender"])
def test_a_worker_without_rights_ends_at_once_with_one_line(refused: dict[str, Refused], name: str) -> None:
    """It does not retry, and it has committed and written nothing."""
    found = refused[f"{name} rights"]
    assert found.returncode == 1
    assert "cannot start: " in found.told and "see docs/security.md" in found.told
    assert "Traceback" not in found.log


@pytest.mark.parametrize("name", ["sequencer", "recommender"])
def test_a_worker_with_a_wrong_password_ends_at_once(refused: dict[str, Refused], name: str) -> None:
    """The line names user and setting, and not the password."""
    found = refused[f"{name} password"]
    assert found.returncode == 1
    assert f"it refuses user '{name}' or the password" in found.told
    assert "Traceback" not in found.log and "wrong-marker" not in found.log


def test_debug_logs_hold_no_password(refused: dict[str, Refused]) -> None:
    """The client's own debug lines hold every request, the one with the password among them."""
    found = refused["talkative"]
    assert "cannot start" in found.told
    assert "DEBUG" in found.log and PASSWORD not in found.log


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
        {"HEADRACE_BROKER": "{plain}", "HEADRACE_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "HEADRACE_SASL_PLAINTEXT": "on"},
        "not ask for SASL",
    ),
]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Give a certificate of an authority, which lies beside it, that the broker does not know."""
    folder = tmp_path_factory.mktemp("foreign")
    return sign(make_authority(folder, "foreign-authority"), folder, "foreign")


@pytest.mark.parametrize("command", ["doctor", "produce", "subscribe", "replay"])
@pytest.mark.parametrize(("changes", "told"), [case[1:] for case in CONNECTIONS], ids=[case[0] for case in CONNECTIONS])
def test_a_refused_connection_is_one_line_with_its_remedy(
    secured: SecuredBroker,
    become: Become,
    foreign: Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    changes: dict[str, str],
    told: str,
) -> None:
    """Kafka's clients say "unable to bootstrap" for all of these."""
    # only this case gets a TLS alert; the others would wait for one in vain
    if "certificate" not in told:
        monkeypatch.setattr(connecting, "ALERT_TIMEOUT_S", 0.2)
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


def test_acknowledging_without_the_right_is_one_line_and_acknowledges_nothing(
    secured: SecuredBroker, become: Become, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the missing right.

    With the right, the same command says once what it acknowledged.
    """
    kafka = load_settings({}, broker=secured.plain, topic_prefix="lossy-").kafka
    group, events = kafka.group(ACKNOWLEDGED), kafka.topic("events")
    note = encode(Judged(gaps=(Gap(3, 9, int(time.time() * 1000)),)))

    async def lose() -> None:
        await create_topics(kafka)
        async with open_reader(kafka, kafka.group("sequencer")) as reader:
            reader.assign([TopicPartition(events, 1)])
            await reader.commit({TopicPartition(events, 1): OffsetAndMetadata(9, note)})

    asyncio.run(lose())
    all_rights = acls("operator", kafka)
    missing = Acl("group", group, ("Read",))
    secured.grant("nobody", *all_rights)
    secured.revoke("nobody", missing)
    try:
        become("nobody", HEADRACE_TOPIC_PREFIX="lossy-")
        argv = ["status", "--broker", secured.secure, "--acknowledge"]
        assert main(argv) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and f"denies user 'nobody': Read on group {group}" in captured.err
        assert captured.err.count("\n") == 1
        secured.grant("nobody", missing)
        assert main(argv) == 0
        assert capsys.readouterr().out == f"acknowledged: {Gap(3, 9, 0).describe(events, 1)}\n"
        assert main(argv) == 0
        assert capsys.readouterr().out.startswith("nothing to acknowledge")
    finally:
        secured.revoke("nobody", *all_rights)


def test_reading_without_the_right_to_read_is_said(secured: SecuredBroker, become: Become) -> None:
    """A reader that has only Describe on a topic must not wait for records for ever."""
    secured.grant("nobody", Acl("topic", f"{PREFIX}recommendations", ("Describe",)))
    try:
        become("nobody")
        began = time.monotonic()
        assert main(["subscribe", "--follow"]) == 1
        assert time.monotonic() - began < PROMPT_S
    finally:
        secured.revoke("nobody", Acl("topic", f"{PREFIX}recommendations", ("Describe",)))
