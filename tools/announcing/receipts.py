"""Waits for receipts with a bar on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from streams.announcements.sending.answers import Answers, wait_for_receipts
from streams.contract.announcements import Answering, ReceiptKind
from streams.settings.load import KafkaSettings
from tools.cli import progress


async def wait_with_bar(
    kafka: KafkaSettings,
    kind: ReceiptKind,
    announcement: str,
    *,
    apps: Sequence[Answering],
    timeout_s: float,
    partition: int | None = None,
) -> Answers:
    """Return what :func:`~streams.announcements.sending.answers.wait_for_receipts` returns."""
    with progress() as bar:
        task = bar.add_task("waiting for receipts", total=None, unit="workers")

        def tell(n_wanted: int, n_given: int, note: str) -> None:
            bar.update(task, total=n_wanted, completed=n_given, note=note)

        return await wait_for_receipts(
            kafka, kind, announcement, apps=apps, timeout_s=timeout_s, partition=partition, tell=tell
        )
