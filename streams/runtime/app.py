"""The Faust app that both workers build on: settings for record batches, checks at start, the
writer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import faust
from faust.types import TP
from faust.types.auth import CredentialsT
from mode.utils.queues import FlowControlEvent

from streams.announcements.receipts import Receipts
from streams.contract.announcements import Answering
from streams.errors import HeadraceError
from streams.health.watchdog import Health
from streams.kafka.bounded_connections import bound_connections
from streams.kafka.deployment import load_deployment
from streams.kafka.fenced_writers import PartitionWriters
from streams.kafka.permissions import prepare
from streams.printable import printable, show_all_uncaught
from streams.runtime import event_loop
from streams.runtime.batch_scheduler import BatchSchema, batch_scheduler
from streams.runtime.consumer import BatchTransport, KeepingFlowControl
from streams.runtime.memory import give_memory_back, keep_for_good
from streams.runtime.tracing import open_tracing
from streams.runtime.worker_logging import logging_config
from streams.settings.file_trust import create_private
from streams.settings.load import KafkaSettings, Settings
from streams.state.recovery import BatchTableManager
from streams.state.rocksdb_check import check_stores, note_crash
from streams.state.table import BatchTable

log = logging.getLogger(__name__)
#: Port of the pages of each app's first worker on a machine; ``--web-port`` wins. It is not a
#: setting because Kubernetes sets ``HEADRACE_WEB_PORT`` for a Service named ``headrace-web``.
WEB_PORTS: Final[dict[Answering, int]] = {"sequencer": 6066, "recommender": 6067}


class Serving(Protocol):
    """Work that an app runs beside its agents."""

    async def start(self) -> None:
        """Get ready; called before anything is consumed."""

    def let_go(self) -> None:
        """Drop waiting work without committing it.

        A rebalance, or the worker's end, must not wait for it.
        """

    async def stop(self) -> None:
        """Release all resources; called after consuming has ended."""


class StreamApp(faust.App):
    """A Faust app whose unit of work is a record batch."""

    serving: Serving | None = None
    #: Runs beside the work once the state of these partitions is recovered; a revoke cancels it.
    after_recovery: Callable[[set[int]], Awaitable[None]] | None = None

    def __init__(self, app_id: str, *, role: Answering, settings: Settings, changelog: str, **kwargs: Any) -> None:
        super().__init__(app_id, **kwargs)
        self.role = role
        self.settings = settings
        self.writer = PartitionWriters(settings.kafka, app_id, settings.kafka.topic(changelog))
        self.failure: BaseException | None = None
        self.health = Health(self)
        self.receipts = Receipts(settings.kafka, role, lambda: self.member_id)
        self.tracing = open_tracing(settings.watching, f"headrace-{role}", settings.kafka.client_id)

    @property
    def is_consuming(self) -> bool:
        """Whether the consumer has started."""
        return self._consumer is not None and self._consumer.has_started

    @property
    def member_id(self) -> str:
        """The id of this worker in its consumer group; empty before it has one."""
        return "" if self._consumer is None else self._consumer.member_id

    def has_state(self, partition: int) -> bool:
        """Whether a partition's state is recovered, and this worker may write to it."""
        return not self.health.not_ready() and self.failure is None and self.writer.owns(partition)

    async def on_first_start(self) -> None:
        """Create or check the topics, and check the rights, before anything is consumed.

        An error of headrace's own ends the process with one line in the log, without a traceback.
        """
        try:
            await self._get_ready()
        except HeadraceError as exc:
            self.log.error("cannot start: %s", exc)
            raise SystemExit(exc.exit_code) from exc
        await super().on_first_start()

    async def _get_ready(self) -> None:
        bind = str(self.conf.web_bind)
        if not is_loopback(bind):
            self.log.warning(
                "everybody who reaches %s:%s can read the pages: no token protects them", bind, self.conf.web_port
            )
        Path(str(self.conf.datadir)).mkdir(parents=True, exist_ok=True)
        await prepare(self.settings.kafka, self.role)
        await self.health.start()
        self.add_future(self.receipts.run())
        if self.serving is not None:
            await self.serving.start()
        keep_for_good()

    async def on_stop(self) -> None:
        """Stop consuming first; then flush the writer."""
        await super().on_stop()
        if self.serving is not None:
            await self.serving.stop()
        await self.writer.stop()
        await self.health.stop()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)

    async def on_started(self) -> None:
        """Serve the pages before recovery is done, so that ``/health`` can report the recovery."""
        await self.on_started_init_web_server()
        await super().on_started()

    async def crash(self, reason: BaseException) -> None:
        """Stop the worker with an exit code above 0.

        Note damage of the store for the next start.
        """
        self._fail(reason)
        try:
            note_crash(self.tables.values(), reason)
        finally:
            await super().crash(reason)

    def _crash(self, reason: BaseException) -> None:
        """Faust calls this instead of :meth:`crash` when a part of the app, such as a thread,
        crashed.
        """
        self._fail(reason)
        super()._crash(reason)

    def _fail(self, reason: BaseException) -> None:
        """Note the first failure and let the process end soon; from here on nothing is committed.

        Faust restarts a failed agent while the app stops. The agent would take the batch after the
        failed one, and its commit would skip the failed one. Besides, the last commit of Faust's
        stop waits for ever for the consumer's thread, which has crashed with the app.
        """
        if self.failure is None:
            self.failure = reason
            told = " ".join(str(reason).split())
            log.error("the worker ends: %s: %s", type(reason).__name__, told or "no message")
            self.health.end_soon()

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Check the stores of new partitions before Faust opens and recovers them."""
        if self.should_stop or await _checked_stores(self, assigned):
            await super()._on_partitions_assigned(assigned, generation_id)

    @cached_property
    def flow_control(self) -> FlowControlEvent:
        """The event that suspends the agents' queues during a rebalance."""
        return KeepingFlowControl()

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    def batch_topic(self, name: str) -> faust.TopicT:
        """Return a topic of the contract whose messages are record batches."""
        return self.topic(
            self.settings.kafka.topic(name),
            schema=BatchSchema(),
            key_type=bytes,
            value_type=bytes,
            partitions=self.settings.kafka.partitions,
        )


def build_app(
    name: Answering, settings: Settings, *, changelog: str, batch_max_records: int, batch_max_bytes: int, **options: Any
) -> StreamApp:
    """Return an app without agents; it connects to nothing.

    ``stream_wait_empty`` makes a rebalance wait until the batches in flight are delivered and
    committed. ``stream_buffer_maxsize`` counts record batches: a full buffer blocks fetching, so a
    small number bounds memory.
    """
    kafka = settings.kafka
    return StreamApp(
        kafka.group(name),
        role=name,
        settings=settings,
        changelog=changelog,
        broker=[f"aiokafka://{server.strip()}" for server in kafka.broker.split(",")],
        broker_client_id=kafka.client_id or f"headrace-{name}",
        broker_credentials=credentials(kafka),
        ConsumerScheduler=batch_scheduler(batch_max_records, batch_max_bytes),
        Table=BatchTable,
        TableManager=BatchTableManager,
        # recovery takes seconds; a standby would read changelogs all the time
        table_standby_replicas=0,
        broker_max_poll_records=batch_max_records,
        broker_session_timeout=kafka.session_timeout_ms / 1000,
        # a member learns of a rebalance by it
        broker_heartbeat_interval=kafka.session_timeout_ms / 12_000,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=batch_max_bytes,
        stream_buffer_maxsize=4,
        stream_wait_empty=True,
        stream_publish_on_commit=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_replication_factor=kafka.replication,
        topic_partitions=kafka.partitions,
        table_cleanup_interval=3_600.0,
        logging_config=logging_config(settings.watching.log_format),
        web_enabled=True,
        web_bind=settings.health.web_bind,
        web_port=WEB_PORTS[name],
        # else WEB_BIND, BROKER_URL and sixty other variables would win over these arguments
        env={},
        web_in_thread=False,
        # Faust's own pages would show all windows to all users of the machine
        web_tables_enabled=False,
        web_router_enabled=False,
        web_graph_enabled=False,
        web_stats_enabled=False,
        web_metrics_enabled=False,
        autodiscover=False,
        **options,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; any name but ``localhost`` may be another
    machine.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def credentials(kafka: KafkaSettings) -> CredentialsT | None:
    """Return Faust's form of the connection's security, or None for plain text."""
    context = kafka.ssl_context()
    tokens = kafka.tokens()
    if tokens is not None:
        return faust.OAuthCredentials(oauth_cb=tokens, ssl_context=context)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=kafka.sasl_mechanism,
            username=kafka.sasl_username,
            password=kafka.password(),
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None


async def _checked_stores(app: StreamApp, assigned: set[TP]) -> bool:
    """Check the stores of newly assigned partitions; on an error the app crashes, and False is
    returned.
    """
    try:
        n_rebuilt = await check_stores(app, app.health.cluster, assigned)
    except Exception as exc:  # aiokafka would log it and go on without recovery
        await app.crash(exc)
        return False
    if app.health.metrics is not None:
        app.health.metrics.add("stores_rebuilt", n_rebuilt)
    return True


def start_app(build: Callable[[Settings], StreamApp]) -> StreamApp:
    """Read the settings, install uvloop and return the app that a worker module names ``app``.

    A bad setting ends the process with one line on standard error; so does a broker that does not
    tell how many partitions there are.
    """
    create_private()
    show_all_uncaught()
    event_loop.install()
    bound_connections()
    give_memory_back()
    # its debug lines contain the password
    logging.getLogger("aiokafka.conn").setLevel(logging.INFO)
    try:
        return build(load_deployment())
    except HeadraceError as exc:
        raise SystemExit(printable(f"cannot start: {exc}")) from None
