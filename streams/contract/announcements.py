"""The records that change a running deployment, and the receipts with which workers answer them.

::

    models, rules, privacy ──► workers ──► receipts ──► the command that waits

An announcement stands as soon as it is on its topic: a worker that starts later takes it too.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from streams.contract.records import Identifier, ShortText, TimestampMs, Version

#: A rules document in UTF-8 must fit into one record.
MAX_RULES_LENGTH: Final = 60_000

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
ReceiptKind = Literal["forget", "model", "rules"]
#: ``begun`` says how far the work is; ``done`` and ``failed`` are answers.
Stage = Literal["begun", "done", "failed"]
#: Whether a model gives the lists of its golden windows on a worker's machine; ``none`` has none.
GoldenState = Literal["equal", "unlike", "none"]
#: Who gives receipts: the workers of two apps, and servers.
Answering = Literal["sequencer", "recommender", "server"]


class ModelAnnouncement(msgspec.Struct, omit_defaults=True):
    """Which artifact is live, as published on ``models`` under the deployment's name.

    ``sha256`` is that of the artifact's manifest, which holds the checksum of each other file.
    ``previous`` is the ``uri`` that a rollback goes back to.
    """

    v: Version
    artifact: Identifier
    uri: ShortText
    sha256: Sha256
    created_ts: TimestampMs
    metrics: dict[str, float]
    previous: ShortText | None = None
    refresh_days: Annotated[float, Meta(ge=0, le=3_650)] | None = None


class PrivacyRequest(msgspec.Struct, omit_defaults=True):
    """A request to forget a user, as published on ``privacy``.

    ``request_id`` names the request in receipts; a request without it gets none.
    """

    v: Version
    user_id: Identifier
    action: Literal["forget"]
    requested_ts: TimestampMs
    request_id: Identifier | None = None


class RulesRecord(msgspec.Struct):
    """The rules of a scenario, as published on ``rules``.

    ``rules`` is the document, in TOML; ``sha256`` is that of its UTF-8 bytes.
    """

    v: Version
    scenario: Identifier
    rules: Annotated[str, Meta(max_length=MAX_RULES_LENGTH)]
    sha256: Sha256
    created_ts: TimestampMs


class Receipt(msgspec.Struct, omit_defaults=True):
    """A worker's answer to an announcement, as published on ``receipts``.

    ``worker`` is the worker's member id in its consumer group; servers have a group, too.
    ``partition`` is set where the answer is for the users of one partition. ``artifact`` and
    ``golden`` say which model is in force after an answer of the kind ``model``, also where that is
    the one before.
    """

    v: Version
    kind: ReceiptKind
    id: Annotated[str, Meta(min_length=1, max_length=300)]
    app: Answering
    worker: Annotated[str, Meta(min_length=1, max_length=300)]
    stage: Stage
    done_ts: TimestampMs
    partition: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    detail: ShortText = ""
    artifact: Identifier | None = None
    golden: GoldenState | None = None

    def key(self) -> bytes:
        """Return the record key: a worker's newest answer to an announcement replaces the others.

        Answers for a partition replace each other whichever worker gives them.
        """
        who = self.worker if self.partition is None else str(self.partition)
        return f"{self.kind}/{self.id}/{self.app}/{who}".encode()


def announcement_id(key: str, partition: int, offset: int) -> str:
    """Return the ``id`` that receipts give an announcement of a model or of rules: where it lies.

    An answer to an earlier announcement of the same content does not count for a later one, and the
    removal of an announcement has an id too.
    """
    return f"{key}@{partition}.{offset}"
