"""Fetches Avro schemas from a schema registry, each id once.

::

    GET /schemas/ids/7                 {"schema": "...", "schemaType": "AVRO", "references": [...]}
    GET /subjects/user/versions/2      {"schema": "...", ...}       for each reference

A worker loads the schemas of a batch in a thread before it decodes the batch, so its event loop
never waits for the registry. A registry that is down holds the batch up: nothing is rejected for
it.

References
----------
Confluent's documentation, "Schema Registry API Reference".
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from streams.contract.kafka_records import ConsumedRecord
from streams.errors import BrokerError, RecordError
from streams.formats.avro_records import parse_avro_schema, schema_id_of
from streams.settings.load import KafkaSettings
from streams.settings.secrets import read_secret

log = logging.getLogger(__name__)

#: How long one request may take, in seconds.
REQUEST_TIMEOUT_S: Final = 5.0
#: Pauses between two requests of an unanswered question, in seconds; the last one repeats.
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
MAX_ANSWER_BYTES: Final = 4 << 20
#: Schemas in memory; a topic has a handful.
MAX_SCHEMAS: Final = 1_000
#: Other schemas that one schema may refer to, in all.
MAX_REFERENCES: Final = 100
#: How long an id counts as unknown before the registry is asked again, in seconds.
UNKNOWN_FOR_S: Final = 60.0
#: Most ids that are asked for in one batch. Garbage looks like many ids, and asking for all of them
#: would hold the partition up; the commonest ids are asked for first.
MAX_IDS_PER_BATCH: Final = 64
_ACCEPT: Final = "application/vnd.schemaregistry.v1+json, application/json"


class RegistryError(BrokerError):
    """The schema registry does not answer, or refuses this client."""


class _Silent(Exception):
    """One request got no answer; the message is one line."""


class SchemaRegistry:
    """Gives schemas by id. One thread at a time may fetch; every thread may read.

    Parameters
    ----------
    patience_s : how long an unanswered question is repeated

    Attributes
    ----------
    problem : why records wait; empty while the registry answers
    """

    def __init__(self, kafka: KafkaSettings, *, patience_s: float) -> None:
        self.problem = ""
        self._url = kafka.schema_registry_url.rstrip("/")
        self._cafile = kafka.ssl_cafile
        self._login_file = kafka.schema_registry_login_file
        self._patience_s = patience_s
        self._schemas: dict[int, Any] = {}
        # when the registry said so, and the detail
        self._unknown: dict[int, tuple[float, str]] = {}

    def check(self) -> None:
        """Ask the registry; raise :class:`RegistryError` where nobody answers or it refuses."""
        self._ask("/schemas/types")

    async def load(self, records: Iterable[ConsumedRecord]) -> None:
        """Fetch the schemas of a batch that are not known yet; see :meth:`load_now`."""
        wanted = self._missing(records)
        if wanted:
            await asyncio.to_thread(self._fetch_all, wanted)

    def load_now(self, records: Iterable[ConsumedRecord]) -> None:
        """Fetch the schemas of a batch that are not known yet.

        Raises
        ------
        RegistryError
            When the registry did not answer for ``patience_s``, or refuses this client.
        """
        self._fetch_all(self._missing(records))

    def schema(self, schema_id: int) -> Any:
        """Return a parsed schema; fetch it where it was not loaded.

        Raises
        ------
        RecordError
            With reason ``schema`` for an id that the registry does not know, or whose schema is not
            Avro.
        RegistryError
            As :meth:`load_now`.
        """
        if schema_id not in self._schemas and not self._is_unknown(schema_id):
            self._fetch_all([schema_id])
        found = self._schemas.get(schema_id)
        if found is None:
            raise RecordError("schema", "", self._unknown[schema_id][1])
        return found

    def _missing(self, records: Iterable[ConsumedRecord]) -> list[int]:
        counts = Counter(schema_id_of(part) for record in records for part in (record.key, record.value))
        ids = [number for number, _ in counts.most_common() if number is not None]
        wanted = [number for number in ids if number not in self._schemas and not self._is_unknown(number)]
        for number in wanted[MAX_IDS_PER_BATCH:]:
            detail = f"id {number}: not asked for, after {MAX_IDS_PER_BATCH} other unknown ids of one batch"
            self._note_unknown(number, detail)
        return wanted[:MAX_IDS_PER_BATCH]

    def _is_unknown(self, schema_id: int) -> bool:
        found = self._unknown.get(schema_id)
        return found is not None and time.monotonic() - found[0] < UNKNOWN_FOR_S

    def _note_unknown(self, schema_id: int, detail: str) -> None:
        if len(self._unknown) >= MAX_SCHEMAS * MAX_IDS_PER_BATCH:
            self._unknown.clear()
        self._unknown[schema_id] = (time.monotonic(), f"{detail}; then: headrace rejected redrive")

    def _fetch_all(self, ids: Iterable[int]) -> None:
        for schema_id in ids:
            try:
                answer = self._ask(f"/schemas/ids/{schema_id}")
                if answer is None:
                    raise ValueError(f"is not in {self._url}; register it")
                self._keep(schema_id, self._parsed(answer))
            except ValueError as exc:
                self._note_unknown(schema_id, f"schema id {schema_id} {exc}")

    def _keep(self, schema_id: int, schema: Any) -> None:
        if len(self._schemas) >= MAX_SCHEMAS:
            self._schemas.clear()
        self._schemas[schema_id] = schema

    def _parsed(self, answer: dict[str, Any]) -> Any:
        """Return the parsed schema of an answer.

        Raise ValueError with words that follow ``schema id N``.
        """
        named: dict[str, Any] = {}
        self._add_references(answer, named, set())
        return parse_avro_schema(_schema_of(answer), named)

    def _add_references(self, answer: dict[str, Any], named: dict[str, Any], seen: set[tuple[str, Any]]) -> None:
        references = answer.get("references")
        for reference in references if isinstance(references, list) else ():
            subject, version = str(reference.get("subject")), reference.get("version")
            if (subject, version) in seen:
                continue
            seen.add((subject, version))
            if len(seen) > MAX_REFERENCES:
                raise ValueError(f"refers to more than {MAX_REFERENCES} schemas")
            found = self._ask(f"/subjects/{quote(subject, safe='')}/versions/{quote(str(version), safe='')}")
            if found is None:
                raise ValueError(f"refers to version {version} of {subject!r}, which is not in {self._url}")
            self._add_references(found, named, seen)
            parse_avro_schema(_schema_of(found), named)

    def _ask(self, path: str) -> dict[str, Any] | None:
        """Return the registry's answer, None for 404; repeat an unanswered question for a while."""
        began = time.monotonic()
        for attempt in range(1_000_000):
            try:
                found = self._get(path)
            except _Silent as exc:
                waited = time.monotonic() - began
                self.problem = (
                    f"schema registry {self._url} does not answer for {waited:.0f} s: {exc}; records wait for it"
                )
                if waited >= self._patience_s:
                    raise RegistryError(
                        f"schema registry {self._url} has not answered for {waited:.0f} s: {exc}; start it, or correct schema_registry_url"
                    ) from None
                if attempt == len(PAUSES_S):
                    log.warning("%s", self.problem)
                time.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
            else:
                self.problem = ""
                return found
        raise AssertionError

    def _get(self, path: str) -> dict[str, Any] | None:
        headers = {"Accept": _ACCEPT}
        if self._login_file:
            login = read_secret(self._login_file, "schema_registry_login_file")
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        request = urllib.request.Request(self._url + path, headers=headers)  # noqa: S310 - the settings let http and https pass alone
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S, context=self._context()) as answer:  # noqa: S310 - as above
                return _object_of(answer.read(MAX_ANSWER_BYTES + 1))
        except urllib.error.HTTPError as exc:
            exc.close()
            if exc.code == http.HTTPStatus.NOT_FOUND:
                return None
            if exc.code < http.HTTPStatus.INTERNAL_SERVER_ERROR and exc.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                raise RegistryError(
                    f"schema registry {self._url}: HTTP status {exc.code} for {path}; see schema_registry_url and "
                    "schema_registry_login_file"
                ) from None
            raise _Silent(f"HTTP status {exc.code}") from None
        except (OSError, http.client.HTTPException) as exc:
            cause = getattr(exc, "reason", exc)
            told = getattr(cause, "verify_message", "") or getattr(cause, "strerror", None) or type(cause).__name__
            raise _Silent(str(told)) from None

    def _context(self) -> ssl.SSLContext | None:
        if not self._url.startswith("https:"):
            return None
        return ssl.create_default_context(cafile=self._cafile or None)


def _object_of(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body) if len(body) <= MAX_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _Silent("the answer is no JSON object; is the address that of a schema registry?")
    return found


def _schema_of(answer: dict[str, Any]) -> Any:
    """Return the decoded schema of an answer; raise ValueError where it is not Avro."""
    kind = answer.get("schemaType") or "AVRO"
    if kind != "AVRO":
        raise ValueError(f"is {str(kind)[:20]}, not Avro; let the producers write Avro")
    try:
        return json.loads(answer["schema"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("has no schema of JSON") from None
