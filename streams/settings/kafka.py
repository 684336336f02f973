"""The settings for the broker: its address, names of topics and consumer groups, TLS and SASL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from streams.errors import SettingsError
from streams.kafka.bounded_connections import bound_connections
from streams.settings.check import PREFIX, check_fields, check_setting
from streams.settings.foreign_topics import check_formats
from streams.settings.oauth import OAuthSettings, token_provider
from streams.settings.secrets import read_secret, tls_context
from streams.settings.token_endpoint import TokenEndpoint
from streams.settings.tokens import TokenProvider

CONTRACT_TOPICS: Final = (
    "events", "items", "users", "sequences", "user-vectors", "recommendations", "models", "events.rejected", "privacy",
    "rules", "receipts",
)  # fmt: skip


TopicName = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9._-]{0,249}\Z",
        description="empty or 1 to 249 of letters, digits, '.', '_' and '-'",
    ),
]


TopicFormat = Literal["headrace", "confluent-avro", "debezium", "connect-json"]


def _setting_of(topic: str) -> str:
    """Return the setting that names a topic of the contract in full."""
    return f"topic_{topic.replace('.', '_').replace('-', '_')}"


@dataclass(frozen=True)
class KafkaSettings:
    """The broker, the topics and the consumer groups.

    Parameters
    ----------
    broker : bootstrap servers, ``host:port[,host:port]``
    topic_prefix : stands before every topic name and group id; it keeps deployments on one cluster
        apart
    topic_events, topic_items, topic_users, topic_sequences, topic_user_vectors,
    topic_recommendations, topic_models, topic_events_rejected, topic_privacy, topic_rules,
    topic_receipts
        full name of this topic, such as MirrorMaker's ``source.events``; ``topic_prefix`` does not
        stand before it. Empty means the prefix and the topic's name in the contract
    partitions : partitions of the topics keyed by user. Not set, it is the count of the topics that
        exist, else the default. A topic's count cannot be changed
    partitioner : how producers choose a user's partition: ``murmur2`` is the default of Java
        clients and aiokafka, ``crc32`` is the default of librdkafka (``consistent_random``). All
        producers must use this one; headrace's commands do. An event on another partition is
        rejected
    replication : replicas of every topic
    client_id : name of this process in the broker's logs and quotas; empty means ``headrace-`` and
        the app
    output_format : encoding of ``recommendations``, which the recommender writes; ``json`` is for
        people
    events_format, items_format : how other systems write these topics. ``headrace`` is the
        contract's own; ``confluent-avro`` is Avro with the schema's id before it; ``debezium`` is
        the JSON of Debezium's changes of a table; ``connect-json`` is the JSON of Kafka Connect, or
        plain JSON. headrace does not write topics of other formats: see ``docs/data/presets.md``
    events_mapping, items_mapping : mapping file that names the fields of such records; empty means
        that they have the contract's names
    schema_registry_url : where the schemas of ``confluent-avro`` are
    schema_registry_login_file : file that holds ``USER:PASSWORD`` for it, over https or on this
        machine
    compression_type : codec of all that headrace writes; headrace reads every codec. ``zstd`` needs
        about half the bytes of ``none``; a subscriber's client must know the codec
    session_timeout_ms : the broker gives a worker's partitions to another worker after this silence
    security_protocol, sasl_mechanism : as in Kafka's own clients
    sasl_username, sasl_password, ssl_cafile, ssl_certfile, ssl_keyfile
        as in Kafka's own clients; empty means none
    sasl_plaintext : ``on`` allows ``security_protocol=SASL_PLAINTEXT``, which sends a password or
        token without TLS, so that everybody on the way can read and answer it; for a broker on this
        machine or behind a proxy with TLS
    sasl_password_file : file that holds the password alone, instead of ``sasl_password``; no child
        process inherits the password
    user_id_key_file : file with a key; producers then publish a keyed hash in place of each
        user_id, and ``subscribe --user`` looks for that hash
    oauth_token_provider : for ``OAUTHBEARER``: ``module:callable``; it returns a token, or a token
        and its expiry in seconds since 1970
    oauth_token_url : instead of ``oauth_token_provider``: the endpoint that gives tokens for client
        credentials, over https, or over http on this machine
    oauth_client_id : the client that asks that endpoint
    oauth_scope : the scope that the client asks for; an empty one is not sent
    oauth_client_secret_file : file that holds the client's secret alone
    oauth_extensions : SASL extensions that the broker wants with each token, ``name=value`` with
        commas between, such as ``logicalCluster=lkc-1,identityPoolId=pool-1`` for Confluent Cloud
    ssl_key_password_file : file that holds the password of an encrypted ``ssl_keyfile``
    """

    broker: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    topic_events: TopicName = ""
    topic_items: TopicName = ""
    topic_users: TopicName = ""
    topic_sequences: TopicName = ""
    topic_user_vectors: TopicName = ""
    topic_recommendations: TopicName = ""
    topic_models: TopicName = ""
    topic_events_rejected: TopicName = ""
    topic_privacy: TopicName = ""
    topic_rules: TopicName = ""
    topic_receipts: TopicName = ""
    partitions: Annotated[int, Meta(ge=1, le=10_000)] = 4
    partitioner: Literal["murmur2", "crc32"] = "murmur2"
    replication: Annotated[int, Meta(ge=1, le=32)] = 1
    client_id: str = ""
    output_format: Literal["msgpack", "json"] = "msgpack"
    events_format: TopicFormat = "headrace"
    items_format: TopicFormat = "headrace"
    events_mapping: str = ""
    items_mapping: str = ""
    schema_registry_url: str = ""
    schema_registry_login_file: str = ""
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    session_timeout_ms: Annotated[int, Meta(ge=6_000, le=300_000)] = 6_000
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_plaintext: Literal["off", "on"] = "off"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    sasl_password_file: str = ""
    oauth_token_provider: str = ""
    oauth_token_url: str = ""
    oauth_client_id: str = ""
    oauth_client_secret_file: str = ""
    oauth_scope: str = ""
    oauth_extensions: str = ""
    ssl_key_password_file: str = ""
    user_id_key_file: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        for server in self.broker.split(","):
            host, _, port = server.strip().rpartition(":")
            is_address = bool(host) and port.isdecimal() and 0 < int(port) < 65_536
            check_setting(is_address, "broker", self.broker, "host:port[,host:port]")
        names = [self.topic(name) for name in CONTRACT_TOPICS]
        for setting, name in self.named_topics().items():
            check_setting(names.count(name) == 1, setting, name, "a name that no other topic of these settings has")
        if self.security_protocol == "SASL_PLAINTEXT" and self.sasl_plaintext == "off":
            raise SettingsError(
                "security_protocol='SASL_PLAINTEXT' sends the password or token over a connection without TLS; set "
                "HEADRACE_SECURITY_PROTOCOL=SASL_SSL, or HEADRACE_SASL_PLAINTEXT=on for a broker on this machine or behind a proxy with TLS"
            )

        check_formats(
            {"events": (self.events_format, self.events_mapping), "items": (self.items_format, self.items_mapping)},
            self.schema_registry_url,
            has_login=bool(self.schema_registry_login_file),
        )

    def topic(self, name: str) -> str:
        """Return a topic's full name: the one that a setting gives, else prefix and name."""
        return getattr(self, _setting_of(name), "") or f"{self.topic_prefix}{name}"

    def topic_names(self) -> dict[str, str]:
        """Return each ``topic_`` setting with its value; empty means prefix and name."""
        return {setting: getattr(self, setting) for setting in map(_setting_of, CONTRACT_TOPICS)}

    def named_topics(self) -> dict[str, str]:
        """Return the topics that a setting names in full, by setting."""
        return {setting: name for setting, name in self.topic_names().items() if name}

    def check_isolated(self, prefix: str) -> None:
        """Raise :class:`SettingsError` where a setting keeps a command from topics of its own.

        Such a topic stays the same under another prefix, so a command would use the live one. The
        command writes its own events and items, so it raises for the format of another system too.
        """
        for setting in ("events_format", "items_format"):
            if getattr(self, setting) != "headrace":
                raise SettingsError(
                    f"{setting}={getattr(self, setting)}: this command writes headrace's own records: unset it for this command"
                )
        for setting, name in self.named_topics().items():
            raise SettingsError(
                f"{setting}={name!r} has no prefix, so {prefix!r} keeps nothing apart from it: unset it for this command"
            )

    def group(self, app: str) -> str:
        """Return the consumer group of an app, which is also its Faust app id.

        For the app ``""`` it is the beginning that all groups of headrace share.
        """
        return f"{self.topic_prefix}headrace-{app}"

    def codec(self) -> str | None:
        """Return ``compression_type`` as aiokafka's producer takes it."""
        return None if self.compression_type == "none" else self.compression_type

    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of each bootstrap server."""
        parts = [server.strip().rpartition(":") for server in self.broker.split(",")]
        return [(host.strip("[]"), int(port)) for host, _, port in parts]

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context, or None where the protocol has no TLS."""
        if self.security_protocol not in ("SSL", "SASL_SSL"):
            return None
        return tls_context(self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile, self.ssl_key_password_file)

    def password(self) -> str:
        """Return the SASL password; a password in a file is read now.

        Raises
        ------
        SettingsError
            When there is no password or no user name, or there are two passwords.
        """
        if self.sasl_password and self.sasl_password_file:
            raise SettingsError("sasl_password and sasl_password_file are both set: leave one of them out")
        if not self.sasl_username or not (self.sasl_password or self.sasl_password_file):
            missing = "sasl_password_file" if self.sasl_username else "sasl_username"
            raise SettingsError(
                f"security_protocol={self.security_protocol!r} needs {missing}; set {PREFIX}{missing.upper()}"
            )
        return self.sasl_password or read_secret(self.sasl_password_file, "sasl_password_file")

    def tokens(self) -> TokenProvider | None:
        """Return the token provider that all clients share; None where no token is needed."""
        if not self.security_protocol.startswith("SASL") or self.sasl_mechanism != "OAUTHBEARER":
            return None
        endpoint = TokenEndpoint(
            self.oauth_token_url, self.oauth_client_id, self.oauth_client_secret_file, self.oauth_scope
        )
        return token_provider(OAuthSettings(self.oauth_token_provider, endpoint, self.oauth_extensions))

    @property
    def principal(self) -> str:
        """The name under which the broker knows this client, for error texts."""
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism == "OAUTHBEARER":
            return (
                f"the owner of the token of client {self.oauth_client_id!r}"
                if self.oauth_client_id
                else "the token's owner"
            )
        if self.security_protocol.startswith("SASL"):
            return f"user {self.sasl_username!r}"
        return f"the owner of certificate {self.ssl_certfile}" if self.ssl_certfile else "a client without a name"

    def client_arguments(self) -> dict[str, Any]:
        """Return the connection arguments of an aiokafka client."""
        return {"bootstrap_servers": self.broker} | self.security_arguments()

    def security_arguments(self) -> dict[str, Any]:
        """Return the connection arguments without the address: protocol, TLS and login.

        A caller of this method opens a client, so the method also bounds the connections of this
        process.
        """
        bound_connections()
        arguments: dict[str, Any] = {"security_protocol": self.security_protocol}
        context = self.ssl_context()
        if context is not None:
            arguments["ssl_context"] = context
        tokens = self.tokens()
        if tokens is not None:
            arguments |= {"sasl_mechanism": self.sasl_mechanism, "sasl_oauth_token_provider": tokens}
        elif self.security_protocol.startswith("SASL"):
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.password(),
            }
        return arguments
