"""The settings of topics that other systems write exclude and need each other."""

from __future__ import annotations

from typing import Any

import pytest

from streams.errors import SettingsError
from streams.settings.load import KafkaSettings, load_settings

AVRO: dict[str, Any] = {"events_format": "confluent-avro"}
LOGIN: dict[str, Any] = {"schema_registry_login_file": "/run/login"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"events_format": "protobuf"},
            "events_format='protobuf' must be one of headrace, confluent-avro, debezium, connect-json",
        ),
        ({"items_mapping": "m.toml"}, "items_mapping='m.toml' must be empty where items_format is headrace"),
        (AVRO, "schema_registry_url='' must be the address of the registry, because events_format is confluent-avro"),
        ({**AVRO, "schema_registry_url": "registry:8081"}, "schema_registry_url='\\*\\*\\*' must be http"),
        ({**AVRO, "schema_registry_url": "ftp://registry"}, "schema_registry_url='ftp://registry' must be http"),
        (
            {**AVRO, "schema_registry_url": "http://ann:pw@registry"},
            "schema_registry_url='\\*\\*\\*' must be http.*without a password",
        ),
        ({**AVRO, "schema_registry_url": "http://registry:99999"}, "schema_registry_url='\\*\\*\\*'"),
        ({**AVRO, **LOGIN, "schema_registry_url": "http://registry:8081"}, "must be https:// where"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_remedy(given: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why) as refused:
        KafkaSettings(**given)
    assert "pw" not in str(refused.value) and "HEADRACE_" in str(refused.value)


@pytest.mark.parametrize("url", ["http://registry:8081", "https://registry", "http://[::1]:8081/apis/ccompat/v7"])
def test_an_address_of_a_registry_is_taken(url: str) -> None:
    assert KafkaSettings(events_format="confluent-avro", schema_registry_url=url).schema_registry_url == url
    assert KafkaSettings(schema_registry_url="https://r", **LOGIN).schema_registry_login_file


@pytest.mark.parametrize("setting", ["EVENTS_FORMAT", "ITEMS_FORMAT"])
def test_a_command_with_topics_of_its_own_refuses_another_format(setting: str) -> None:
    """A drill writes its own events: as another format the workers would reject them all."""
    with pytest.raises(SettingsError, match=f"{setting.lower()}=connect-json: .* unset it for this command"):
        load_settings({f"HEADRACE_{setting}": "connect-json"}, topic_prefix="drill.")
