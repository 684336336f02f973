"""The local broker as a real process.

Data survives, a stop ends only the broker's own process, and two starts do not disturb each other.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.programs import HEADRACE
from tools.broker import engine_kafka
from tools.broker.local_broker import BrokerInfo, broker_status, running_broker, start_broker, stop_broker
from tools.broker.probe import check_broker
from tools.broker.state import read_state
from tools.workers.processes import process_identity

pytestmark = [pytest.mark.kafka, pytest.mark.long]


def data_of(info: BrokerInfo) -> Path:
    assert info.data is not None
    return info.data


def needs_kafka(info: BrokerInfo) -> None:
    if info.engine != "kafka":
        pytest.skip(f"engine {info.engine} keeps nothing on disk here; needs engine kafka")


async def put(bootstrap: str, topic: str, values: list[bytes], *, create: bool) -> None:
    if create:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1)])
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    for value in values:
        await producer.send_and_wait(topic, value, partition=0)
    await producer.stop()


async def get(bootstrap: str, topic: str, n: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        return [(await asyncio.wait_for(consumer.getone(), 30)).value for _ in range(n)]
    finally:
        await consumer.stop()


def command(*args: str, **kwargs: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*HEADRACE, "broker", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **kwargs,
    )


def finished(process: subprocess.Popen[bytes]) -> tuple[int, Mapping[str, Any], str]:
    """Return a command's exit code, the JSON of its last line and its messages."""
    out, err = process.communicate(timeout=120)
    lines = out.decode().splitlines()
    return process.returncode, json.loads(lines[-1]) if lines else {}, err.decode()


def test_the_session_broker_answers_and_has_one_node(broker: BrokerInfo) -> None:
    assert check_broker(broker.bootstrap) >= 1


def test_records_topics_and_cluster_id_survive_stop_and_start(own_broker: BrokerInfo, prefix: str) -> None:
    needs_kafka(own_broker)
    data, topic = data_of(own_broker), f"{prefix}kept"
    asyncio.run(put(own_broker.bootstrap, topic, [b"a", b"b"], create=True))
    before = engine_kafka.cluster_id(data)
    assert stop_broker(data)
    again = start_broker("kafka", 0, data)
    assert again.started and again.pid != own_broker.pid
    assert engine_kafka.cluster_id(data) == before is not None
    asyncio.run(put(again.bootstrap, topic, [b"c"], create=False))
    assert asyncio.run(get(again.bootstrap, topic, 3)) == [b"a", b"b", b"c"]


def test_a_killed_broker_is_noticed_and_the_next_start_recovers_its_records(
    own_broker: BrokerInfo, prefix: str
) -> None:
    needs_kafka(own_broker)
    data, topic = data_of(own_broker), f"{prefix}killed"
    asyncio.run(put(own_broker.bootstrap, topic, [b"a"], create=True))
    assert own_broker.pid is not None
    identity = process_identity(own_broker.pid)
    os.kill(own_broker.pid, signal.SIGKILL)
    while process_identity(own_broker.pid) == identity:
        time.sleep(0.01)
    assert broker_status(data) is None
    again = start_broker("kafka", 0, data)
    assert again.started
    assert asyncio.run(get(again.bootstrap, topic, 1)) == [b"a"]


def test_stop_ends_only_the_broker_of_its_own_data_folder(
    broker: BrokerInfo, own_broker: BrokerInfo, tmp_path: Path
) -> None:
    assert not stop_broker(tmp_path / "other")
    assert stop_broker(data_of(own_broker))
    assert check_broker(broker.bootstrap) >= 1


def test_a_block_stops_only_what_it_started(broker: BrokerInfo, own_broker: BrokerInfo) -> None:
    data = data_of(own_broker)
    with running_broker(engine=own_broker.engine, port=0, data_dir=data) as info:
        assert (info.pid, info.started) == (own_broker.pid, False)
    assert broker_status(data) is not None
    with running_broker(broker.bootstrap) as named:
        assert (named.engine, named.started) == ("named", False)
    assert check_broker(broker.bootstrap) >= 1


def test_two_starts_at_once_give_one_broker_that_outlives_both(own_broker: BrokerInfo, tmp_path: Path) -> None:
    engine, data = own_broker.engine, tmp_path / "raced"
    racers = [command("start", "--engine", engine, "--port", "0", "--data", str(data), "--json") for _ in range(2)]
    results = [finished(racer) for racer in racers]
    try:
        assert [code for code, _, _ in results] == [0, 0]
        assert len({result["pid"] for _, result, _ in results}) == 1
        assert sorted(result["started"] for _, result, _ in results) == [False, True]
        assert check_broker(results[0][1]["bootstrap"]) >= 1
    finally:
        assert stop_broker(data)


def test_two_starts_at_once_in_two_folders_give_two_brokers(own_broker: BrokerInfo, tmp_path: Path) -> None:
    """Both starts prefer port 9092: the second broker listens on another port."""
    needs_kafka(own_broker)
    folders = [tmp_path / "one", tmp_path / "two"]
    racers = [command("start", "--engine", "kafka", "--data", str(folder), "--json") for folder in folders]
    results = [finished(racer) for racer in racers]
    try:
        assert [code for code, _, _ in results] == [0, 0], results
        assert len({result["bootstrap"] for _, result, _ in results}) == 2
        assert all(broker_status(folder) is not None for folder in folders)
    finally:
        for folder in folders:
            stop_broker(folder)


def test_ctrl_c_during_the_start_leaves_no_process_and_a_later_start_works(
    own_broker: BrokerInfo, tmp_path: Path
) -> None:
    data = tmp_path / "interrupted"
    process = command("start", "--engine", own_broker.engine, "--port", "0", "--data", str(data))
    state = None
    while state is None and process.poll() is None:
        state = read_state(data)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert state is not None and state.pid is not None
    if code == 0:  # the start was done before the interrupt came
        stop_broker(data)
    else:
        assert (code, err.splitlines()[-1]) == (130, "headrace broker: interrupted")
    assert process_identity(state.pid) != state.identity
    assert read_state(data) is None
    with running_broker(engine=own_broker.engine, port=0, data_dir=data) as info:
        assert info.started


def test_a_port_in_use_ends_in_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, _, err = finished(command("start", "--port", str(port), "--data", str(tmp_path / "b")))
    assert code == 1
    assert f"--port {port}: is taken" in err
    assert len(err.splitlines()) == 1


def test_a_damaged_data_folder_ends_in_the_brokers_own_words(own_broker: BrokerInfo) -> None:
    needs_kafka(own_broker)
    data = data_of(own_broker)
    stop_broker(data)
    meta = data / "kafka" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    code, _, err = finished(command("start", "--engine", "kafka", "--port", "0", "--data", str(data)))
    assert code == 1
    assert "ended while starting" in err and "broker.log" in err
    assert "node.id" in err or "node id" in err.lower()
    assert len(err.splitlines()) == 1
    assert read_state(data) is None
