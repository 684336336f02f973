"""The exceptions that headrace raises on purpose, in workers and in commands.

::

    HeadraceError                 exit code 1
    ├── SettingsError             exit code 2: a setting is out of range
    ├── InputError                exit code 2: a caller's argument, file or value is bad
    ├── RunError                  a command's run failed although its input was good
    ├── RecordError               a record breaks the contract: it goes to events.rejected
    ├── RejectCeilingError        more rejects than the operator allows (reject_ceiling_share)
    ├── TopicError                topics missing or unlike the contract
    ├── BrokerError               no broker, or it refused
    ├── StoreError                the store of lists does not answer, or it refused
    ├── FencedError              another worker has taken a partition over: this one stops writing
    └── StalledError              offsets do not move: the supervisor must restart the worker
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Root of all errors that headrace raises on purpose; the message is one line."""

    exit_code = 1


class SettingsError(HeadraceError):
    """A setting is unknown or out of its range."""

    exit_code = 2


class InputError(HeadraceError):
    """An argument, a file or a value that a caller gave is bad."""

    exit_code = 2


class RunError(HeadraceError):
    """A command's run failed although its input was good."""


class RecordError(HeadraceError):
    """A record breaks the contract.

    Attributes
    ----------
    reason : a word from a closed list (``streams.contract.records.REASONS``)
    field : the field at fault, or ``""`` when the whole record is
    """

    def __init__(self, reason: str, field: str, detail: str) -> None:
        super().__init__(f"{reason}: {field or 'record'}: {detail}")
        self.reason = reason
        self.field = field
        self.detail = detail


class RejectCeilingError(HeadraceError):
    """More records were rejected than the ceiling allows."""


class TopicError(HeadraceError):
    """A topic is missing or differs from the contract."""


class BrokerError(HeadraceError):
    """The broker cannot be reached or refused a request."""


class StoreError(HeadraceError):
    """The server's store of lists cannot be reached or refused a request."""


class FencedError(HeadraceError):
    """Another worker has taken a partition over; this one is a zombie and must end."""


class StalledError(HeadraceError):
    """Committed offsets stand still while end offsets grow."""
