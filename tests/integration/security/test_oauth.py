"""SASL OAUTHBEARER against a real broker.

A worker, a producer and an operator log in with tokens of an endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streams.errors import BrokerError
from tests.integration.security.security_runs import MARKS, WAIT_S, Become, kafka_of, worker
from tests.support import tiny
from tests.support.security.secured_broker import SecuredBroker
from tests.support.security.tokens import SECRET, Endpoint, token_endpoint
from tests.support.waiting import wait_until
from tools.broker.probe import check_broker
from tools.main import main

pytestmark = MARKS


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Give an endpoint for client credentials."""
    with token_endpoint() as served:
        yield served


def variables(secured: SecuredBroker, endpoint: Endpoint, folder: Path, client_id: str) -> dict[str, str]:
    """Return the variables of a client by tokens, whose principal is its id."""
    file = folder / "client.secret"
    file.touch(mode=0o600)
    file.write_text(SECRET)
    return {
        "HEADRACE_BROKER": secured.tokens,
        "HEADRACE_SECURITY_PROTOCOL": "SASL_SSL",
        "HEADRACE_SSL_CAFILE": str(secured.authority.cert),
        "HEADRACE_SASL_MECHANISM": "OAUTHBEARER",
        "HEADRACE_OAUTH_TOKEN_URL": endpoint.url,
        "HEADRACE_OAUTH_CLIENT_ID": client_id,
        "HEADRACE_OAUTH_CLIENT_SECRET_FILE": str(file),
    }


def test_events_are_sequenced_by_tokens(
    secured: SecuredBroker, endpoint: Endpoint, become: Become, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Faust's consumer, on a loop and a thread of its own, the writer and the commands come in."""
    with worker("sequencer", variables(secured, endpoint, tmp_path, "sequencer"), tmp_path) as running:
        running.wait_ready(WAIT_S)
        n_asked = len(endpoint.asked)
        become("", **variables(secured, endpoint, tmp_path, "producer"), HEADRACE_SASL_PASSWORD_FILE="")
        assert main(["replay", str(tiny.write_log(tmp_path / "log.csv", 4, 4)), "--state-dir", str(tmp_path)]) == 0
        wait_until(lambda: running.counts()["total"]["accepted"] == 16, 30.0, running.log_tail)
    assert n_asked == 1, "all clients of a process share one token"
    captured = capsys.readouterr()
    told = captured.out + captured.err + "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert SECRET not in told and "eyJ" not in told


def test_a_refused_token_and_a_refusing_endpoint_are_told_apart(
    secured: SecuredBroker, endpoint: Endpoint, tmp_path: Path
) -> None:
    """Each refusal is one line, at once, with the broker's reason.

    aiokafka takes the broker's refusal for a login.
    """
    kafka = kafka_of(variables(secured, endpoint, tmp_path, "operator"))
    endpoint.lifetime_s = -60.0
    with pytest.raises(
        BrokerError,
        match=r"refuses the token of oauth_token_url='http://127.0.0.1:[0-9]+/token' \(status invalid_token\);",
    ) as caught:
        check_broker(kafka.broker, kafka.client_arguments())
    assert "\n" not in str(caught.value) and "eyJ" not in str(caught.value)
    endpoint.status = 401
    with pytest.raises(BrokerError, match="/token': HTTP status 401") as caught:
        check_broker(kafka.broker, kafka.client_arguments())
    assert "\n" not in str(caught.value) and SECRET not in str(caught.value)
    endpoint.status, endpoint.lifetime_s = 200, 3600.0
    assert check_broker(kafka.broker, kafka.client_arguments()) == 1
    beside = replace(kafka, oauth_extensions="logicalCluster=lkc-1,identityPoolId=pool-1,pool-2")
    assert check_broker(kafka.broker, beside.client_arguments()) == 1, "the broker reads extensions beside the token"
